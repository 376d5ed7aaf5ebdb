# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Rows of a table to encoded pairs: by columns, as lines of JSON, or as pairs of files."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .bad_samples import BadSample, usable_captions
from .shards import EncodedPair

if TYPE_CHECKING:
    import datasets
    import pyarrow


class ColumnReader:
    """Pairs of the columns of a table.

    Args:
        features: of the table, as datasets has them.
        image_column: pictures, bytes or paths.
        caption_columns: strings, lists of strings or class labels; all of them are captions of the row's picture.
        name: what messages call the table.
        folder: where relative paths are looked for first.

    Raises:
        ValueError: a column is missing, or captions are not text.
    """

    def __init__(
        self,
        features: "Mapping[str, datasets.features.FeatureType]",
        image_column: str,
        caption_columns: Sequence[str],
        name: str,
        folder: str | Path | None = None,
    ):
        check_columns(list(features), image_column, caption_columns, name)
        self.features, self.image, self.captions = features, image_column, tuple(caption_columns)
        self.name, self.folder = name, None if folder is None else Path(folder)

    def pairs(self, table: "pyarrow.Table", places: Sequence[str]) -> Iterator[EncodedPair | BadSample]:
        """See `RowReader`."""
        images = table.column(self.image).to_pylist()
        captions = [self._texts(table.column(column), column) for column in self.captions]
        for image, texts, place in zip(images, zip(*captions, strict=True), places, strict=True):
            yield _pair(self._encoded(image), [text for column in texts for text in column], place)

    def _encoded(self, image: Any) -> bytes | str | None:
        if isinstance(image, dict):
            image = image["path"] if image.get("bytes") is None else image["bytes"]
        return beside(image, self.folder) if isinstance(image, str) else image

    def _texts(self, column, name: str) -> list[list]:
        """For each row the values of a caption column, undecoded: arrow does not check that its strings are UTF-8."""
        import datasets
        import pyarrow as pa

        feature, kind = self.features[name], column.type
        if isinstance(feature, datasets.ClassLabel):
            values = column.to_pylist()
            return [[None if value is None or value < 0 else feature.int2str(value)] for value in values]
        is_listed = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        if not _is_text(kind.value_type if is_listed else kind):
            raise ValueError(f"Column {name!r} of {self.name} must hold strings or lists of strings, not {feature}")
        if is_listed:
            return [row or [] for row in column.cast(pa.large_list(pa.large_binary())).to_pylist()]
        return [[value] for value in column.cast(pa.large_binary()).to_pylist()]


class JsonLineReader:
    """Pairs of lines of JSON, in a table with the one column `text`; a line that is none is one bad pair.

    Args:
        image_column: the field with the picture's path.
        caption_columns: fields with a string or a list of strings.
        folder: where relative paths are looked for first.
    """

    def __init__(self, image_column: str, caption_columns: Sequence[str], folder: str | Path):
        self.image, self.captions, self.folder = image_column, tuple(caption_columns), Path(folder)

    def pairs(self, table: "pyarrow.Table", places: Sequence[str]) -> Iterator[EncodedPair | BadSample]:
        """See `RowReader`."""
        for line, place in zip(table.column("text").to_pylist(), places, strict=True):
            try:
                fields = json.loads(line)
            except ValueError:
                fields = None
            if not isinstance(fields, dict):
                yield BadSample("broken JSON", place)
                continue
            values = [fields.get(column) for column in self.captions]
            texts = [text for value in values for text in (value if isinstance(value, list) else [value])]
            texts = [text if text is None or isinstance(text, str) else str(text) for text in texts]
            image = fields.get(self.image)
            yield _pair(beside(image, self.folder) if isinstance(image, str) else None, texts, place)


class FilePairReader:
    """Pairs of files KEY.jpg and KEY.txt, in a table with the columns `image` and `caption_file`, one maybe null."""

    def pairs(self, table: "pyarrow.Table", places: Sequence[str]) -> Iterator[EncodedPair | BadSample]:
        """See `RowReader`."""
        for row in table.to_pylist():
            place = row["image"] or row["caption_file"]
            try:
                captions = [Path(row["caption_file"]).read_bytes()] if row["caption_file"] else []
            except OSError:
                captions = []
            yield _pair(row["image"], captions, place)


def check_columns(columns: Sequence[str], image_column: str, caption_columns: Sequence[str], name: str) -> None:
    """Raise ValueError for columns that are not there."""
    for argument, column in [("image_column", image_column), *(("caption_column", each) for each in caption_columns)]:
        if column not in columns:
            raise ValueError(f"{name} has no column {column!r} ({argument}); its columns are {list(columns)}")


def beside(path: str, folder: Path | None) -> str | None:
    """A path as a table gives it: below the table's folder if it is there, else as it is."""
    if not path.strip():
        return None
    if folder is None or "://" in path or "\0" in path:
        return path
    return str(folder / path) if (folder / path).is_file() else path


def _pair(image: bytes | str | None, captions: list, place: str) -> EncodedPair | BadSample:
    if image is None:
        return BadSample("missing image", place)
    try:
        return EncodedPair(image, usable_captions(captions), place)
    except BadSample as bad:
        return BadSample(bad.cause, place)


def _is_text(kind) -> bool:
    import pyarrow as pa

    return any(check(kind) for check in (pa.types.is_string, pa.types.is_large_string, pa.types.is_null))
