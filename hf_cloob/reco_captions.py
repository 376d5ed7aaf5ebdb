# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`memory_entries.parquet`: ids and captions of a memory, read when a caption is asked for.

Neither searching nor scoring needs it, so a published model works without pyarrow (which comes with `datasets`).
"""

import hashlib
import importlib
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch

ENTRIES_FILE = "memory_entries.parquet"
ROWS_AT_ONCE = 65_536


class StoredCaptions(Sequence):
    """The captions of a memory that was opened from a folder.

    Args:
        path: the parquet file, None if there is none.
        metadata: of `memory.safetensors`: size and checksum that the parquet file must have.
        memory_size: entries.

    Raises:
        ValueError: if the file is missing or has another size; when it is read, also if its content is another's.
    """

    def __init__(self, path: str | os.PathLike | None, metadata: dict[str, str], memory_size: int):
        if path is None:
            raise ValueError(f"The memory's captions are missing: {ENTRIES_FILE} belongs beside its embeddings.")
        self.path = path
        self._memory_size = memory_size
        self._checksum = metadata.get("entries_sha256")
        self._captions: Sequence | None = None
        expected = metadata.get("entries_bytes")
        if str(os.path.getsize(path)) != expected:
            raise ValueError(
                f"{path} is truncated or does not belong to the embeddings beside it: it has {os.path.getsize(path)} "
                f"bytes, they were saved with {expected}."
            )

    def __len__(self) -> int:
        return self._memory_size

    def __getitem__(self, row: int) -> str | None:
        return self._read()[row].as_py()

    def __iter__(self) -> Iterator[str | None]:
        return (caption.as_py() for caption in self._read())

    def _read(self) -> Sequence:
        if self._captions is None:
            if file_checksum(self.path) != self._checksum:
                raise ValueError(f"{self.path} does not belong to the embeddings beside it: its checksum differs.")
            table = _parquet("read").read_table(self.path, columns=["captions"])
            self._captions = table.column("captions").combine_chunks()
        return self._captions


def write_entries(path: Path, ids: torch.Tensor, captions: Iterable[str | None]) -> dict[str, str]:
    """Write one row per entry; return the file's size in bytes and SHA-256, as `describe_file`.

    Raises:
        ImportError: if pyarrow is not installed.
    """
    parquet = _parquet("write")
    arrow = importlib.import_module("pyarrow")
    schema = arrow.schema([("ids", arrow.int64()), ("captions", arrow.string())])
    captions = iter(captions)
    aside = path.with_name(f"{path.name}.unfinished")
    with parquet.ParquetWriter(aside, schema, compression="zstd") as writer:
        for part in ids.cpu().split(ROWS_AT_ONCE):
            columns = {"ids": part.numpy(), "captions": list(itertools.islice(captions, len(part)))}
            writer.write_table(arrow.table(columns, schema=schema))
    os.replace(aside, path)
    return describe_file(path)


def describe_file(path: str | os.PathLike) -> dict[str, str]:
    """Size in bytes and SHA-256, by the names that `StoredCaptions` finds them under."""
    return {"entries_bytes": str(os.path.getsize(path)), "entries_sha256": file_checksum(path)}


def file_checksum(path: str | os.PathLike) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def _parquet(verb: str):
    # By name: transformers refuses remote code with an import statement, even in a function, that it cannot satisfy.
    try:
        return importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise ImportError(
            f"To {verb} the captions of a memory, {ENTRIES_FILE}, pyarrow is needed: pip install pyarrow. Searching "
            "and scoring work without it."
        ) from error
