# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`memory.safetensors`: a memory's embeddings and ids, written in pieces and opened memory-mapped.

Tensors: `image_embeds` and `text_embeds` (memory_size, projection_dim) float16, each the keys of its own modality and
the values of the other, and `ids` (memory_size,) int64. Its metadata holds the encoder's fingerprint, where it is
known, and size and checksum of `memory_entries.parquet`.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

MEMORY_FILE = "memory.safetensors"
DTYPES = {torch.float16: "F16", torch.int64: "I64"}
EXPECTED = {"image_embeds": torch.float16, "text_embeds": torch.float16, "ids": torch.int64}


def write_memory_file(path: Path, tensors: dict[str, Sequence[torch.Tensor]], metadata: dict[str, str]) -> None:
    """Write tensors that are given in pieces (rows, ...), without ever holding a whole one in memory.

    safetensors' own writer wants every tensor in one piece: a memory that was merged from mapped ones would have to
    be read into RAM. The file gets its name when it is complete, so a mapped file of that name stays what it is for
    those who have it open.
    """
    header, offset = {"__metadata__": metadata}, 0
    for name, pieces in tensors.items():
        shape = [sum(len(piece) for piece in pieces), *pieces[0].shape[1:]]
        size = sum(piece.numel() * piece.element_size() for piece in pieces)
        header[name] = {"dtype": DTYPES[pieces[0].dtype], "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    encoded = json.dumps(header).encode()
    # Spaces up to a multiple of 64 bytes align the data behind the eight bytes of the header's length.
    encoded += b" " * (-(8 + len(encoded)) % 64)
    aside = path.with_name(f"{path.name}.unfinished")
    with aside.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little"))
        file.write(encoded)
        for pieces in tensors.values():
            for piece in pieces:
                file.write(memoryview(piece.cpu().contiguous().numpy()).cast("B"))
    os.replace(aside, path)


def open_memory_file(path: str | os.PathLike) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Map the tensors into memory, read nothing but the header, and return them with the metadata.

    Raises:
        ValueError: for a file that is truncated or is no memory, and for tensors that do not fit together.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            missing = [name for name in EXPECTED if name not in file.keys()]
            if missing:
                raise ValueError(f"{path} is no memory: it lacks the tensors {', '.join(missing)}.")
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in EXPECTED}
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or is no safetensors file: {error}.") from error
    for name, dtype in EXPECTED.items():
        if tensors[name].dtype != dtype:
            raise ValueError(f"{name} in {path} must be {dtype}, found {tensors[name].dtype}.")
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    rows = shapes["ids"][:1]
    if shapes["image_embeds"] != shapes["text_embeds"] or len(shapes["image_embeds"]) != 2 or len(shapes["ids"]) != 1:
        raise ValueError(f"The tensors of {path} do not belong together: their shapes are {shapes}.")
    if rows != shapes["image_embeds"][:1] or rows == (0,):
        raise ValueError(f"{path} must hold one id for each of at least one entry; its shapes are {shapes}.")
    return tensors, metadata
