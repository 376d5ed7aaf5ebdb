# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Images for an evaluation: decoded one at a time, prepared in worker processes, broken ones told apart."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from transformers.image_utils import load_image

if TYPE_CHECKING:
    import datasets


class DatasetImages(Sequence):
    """The images of a dataset's column, decoded one at a time.

    Args:
        dataset: a `datasets.Dataset`.
        column: a column of images, or of their paths or bytes.

    Raises:
        ValueError: a column that is not there or holds no images.
    """

    def __init__(self, dataset: "datasets.Dataset", column: str):
        import datasets
        import pyarrow

        if column not in dataset.column_names:
            raise ValueError(f"The dataset has no column {column!r}; its columns are {dataset.column_names}.")
        self.feature = datasets.Image()
        try:
            # Encoded: a broken image then fails by itself, not with its neighbors.
            self.encoded = dataset.select_columns([column]).cast_column(column, datasets.Image(decode=False))
        except (TypeError, ValueError, pyarrow.ArrowException) as error:
            raise ValueError(f"Column {column!r} holds no images: {dataset.features[column]}.") from error
        self.column = column
        # The name that `datasets` gives to a dataset's content and history.
        self._dataset_fingerprint = dataset._fingerprint

    @property
    def fingerprint(self) -> str:
        """A name for the images; another one when a file that the column names has been changed."""
        rows = self.encoded[self.column] if len(self) and self.encoded[0][self.column]["bytes"] is None else ()
        files = hashlib.sha256()
        for row in rows:
            path = Path(row["path"] or "")
            changed = (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else "no file"
            files.update(f"{path} {changed}\n".encode())
        return f"{self._dataset_fingerprint} {self.column} {files.hexdigest()}"

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, index: int) -> Image.Image:
        return self.feature.decode_example(self.encoded[index][self.column])


class PreparedImages(torch.utils.data.Dataset):
    """Images as a model takes them: (index, the image processor's output, None), or (index, None, the cause)."""

    def __init__(self, images: Sequence, image_processor: Any):
        self.images, self.image_processor = images, image_processor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[int, dict[str, torch.Tensor] | None, str | None]:
        try:
            image = load_image(self.images[index])
            return index, dict(self.image_processor(images=[image], return_tensors="pt")), None
        except Exception as error:  # Decoders raise nearly anything on damaged files, and none may end a run.
            return index, None, type(error).__name__


def collate_prepared(samples: list[tuple]) -> tuple[list[int], dict[str, torch.Tensor], list[str]]:
    """The readable samples' indices and joined inputs, and the causes of the others."""
    readable = [(index, inputs) for index, inputs, cause in samples if cause is None]
    names = readable[0][1] if readable else ()
    joined = {name: torch.cat([inputs[name] for _, inputs in readable]) for name in names}
    return [index for index, _ in readable], joined, [cause for _, _, cause in samples if cause is not None]
