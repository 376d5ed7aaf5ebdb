# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Files and folders of pairs as sources of a stream: tar, parquet, arrow, CSV, TSV, JSON lines, image folders."""

import csv
import json
import os
from collections.abc import Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING

from .row_readers import ColumnReader, FilePairReader, JsonLineReader, check_columns
from .shards import Source
from .table_shards import StreamedShards, TableRows
from .tar_shards import IMAGE_MEMBERS, TarShards, import_webdataset

if TYPE_CHECKING:
    import datasets

# What the columns are called where no flag says: open_clip's and CLOOB's CSV, datasets' imagefolder, img2dataset.
IMAGE_COLUMNS = ("image", "filepath", "file_name", "path", "image_path", "filename", "jpg")
CAPTION_COLUMNS = ("caption", "title", "text", "captions", "txt")
KINDS = {
    "tar": (".tar", ".tar.gz", ".tgz"),
    "table": (".csv", ".tsv"),
    "lines": (".jsonl", ".ndjson", ".json"),
    "parquet": (".parquet",),
    "arrow": (".arrow",),
}


def open_files(
    pattern: str,
    image_column: str = "image",
    caption_column: str = "caption",
    allow_pipe_urls: bool = False,
    seed: int = 0,
) -> Source:
    """One source of all files of a pattern.

    Args:
        pattern: paths or URLs with braces ("shards/{000..099}.tar") or wildcards. Files ending in .tar, .tar.gz, .tgz
            are WebDataset shards; .csv and .tsv tables of paths and captions with a header, separated by tabs or
            commas as the header is; .jsonl (.ndjson, .json) lines of JSON; .parquet and .arrow tables of images.
        image_column: path, bytes or image. The default also stands for `IMAGE_COLUMNS`.
        caption_column: a column of strings or of lists, or several with commas between them. The default also stands
            for `CAPTION_COLUMNS`. In tar shards a member ("txt") or a field of KEY.json.
        allow_pipe_urls: also take "pipe:COMMAND" for tar shards.
        seed: of the epochs' orders.

    Raises:
        ValueError: no file, files of several kinds or of none, or a missing column.
        ImportError: tar shards without webdataset.
    """
    files = expand(pattern)
    kind = _kind(files, pattern)
    captions = [name.strip() for name in caption_column.split(",")]
    if kind == "tar":
        return TarShards(files, None if caption_column == "caption" else captions, allow_pipe_urls)
    if kind == "table":
        return _csv_table(files, image_column, captions, pattern, seed)
    if kind == "lines":
        return _json_lines(files, image_column, captions, pattern, seed)
    import datasets

    streamed = datasets.load_dataset(kind, data_files=files, split="train", streaming=True)
    return streamed_source(streamed, image_column, caption_column, pattern)


def open_folder(folder: str, image_column: str = "image", caption_column: str = "caption", seed: int = 0) -> Source:
    """An image folder: KEY.jpg beside KEY.txt, in sub-folders too, or metadata.csv / metadata.jsonl with file names.

    Args, errors: as in `open_files`.
    """
    for name in ("metadata.csv", "metadata.jsonl"):
        if (Path(folder) / name).is_file():
            return open_files(str(Path(folder) / name), image_column, caption_column, seed=seed)
    import datasets

    images, captions = {}, {}
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            stem, _, suffix = name.rpartition(".")
            if stem and suffix.lower() in IMAGE_MEMBERS:
                images[os.path.join(place, stem)] = os.path.join(place, name)
            elif stem and suffix == "txt":
                captions[os.path.join(place, stem)] = os.path.join(place, name)
    if not images or not captions:
        raise ValueError(
            f"{folder} is no image folder: it holds {len(images)} images and {len(captions)} .txt files, and neither "
            'metadata.csv nor metadata.jsonl. For shards and tables pass --train_files "FOLDER/*.tar"'
        )
    keys = sorted({*images, *captions})
    columns = {"image": [images.get(key) for key in keys], "caption_file": [captions.get(key) for key in keys]}
    text = datasets.Value("string")
    features = datasets.Features({"image": text, "caption_file": text})
    return TableRows(datasets.Dataset.from_dict(columns, features=features), FilePairReader(), str(folder), seed)


def streamed_source(
    dataset: "datasets.IterableDataset", image_column: str, caption_column: str, name: str
) -> StreamedShards:
    """A dataset that is streamed, with the columns of the flags, or what they stand for."""
    features = dataset.features if dataset.features is not None else dataset._resolve_features().features
    image, captions = choose_columns(list(features), image_column, caption_column.split(","))
    reader = ColumnReader(features, image, captions, name)
    return StreamedShards(dataset.select_columns([image, *captions]), reader, name)


def table_source(
    dataset: "datasets.Dataset", image_column: str, caption_column: str, name: str, seed: int = 0
) -> TableRows:
    """A dataset on disk, with the columns of the flags, or what they stand for."""
    image, captions = choose_columns(dataset.column_names, image_column, caption_column.split(","))
    reader = ColumnReader(dataset.features, image, captions, name)
    return TableRows(dataset.select_columns([image, *captions]), reader, name, seed)


def expand(pattern: str) -> list[str]:
    """The files of a pattern with braces or wildcards, in its order; what has none stands for itself.

    Raises:
        ValueError: a file that does not exist, or wildcards that match none.
    """
    urls = import_webdataset().shardlists.expand_urls(pattern) if "{" in pattern else [pattern]
    files: list[str] = []
    for url in urls:
        if url.startswith("pipe:") or "://" in url:
            files.append(url)
        elif Path(url).is_file():
            files.append(url)
        elif has_magic(url) and (found := sorted(glob(url, recursive=True))):
            files += found
        else:
            raise ValueError(f"train_files {pattern!r}: there is no file {url}")
    return files


def choose_columns(columns: Sequence[str], image_column: str, caption_columns: Sequence[str]) -> tuple[str, list[str]]:
    """The columns that are meant: the named ones; where a default is not there, the first usual name that is."""
    image, captions = image_column, [name.strip() for name in caption_columns]
    if image == IMAGE_COLUMNS[0]:
        image = next((name for name in IMAGE_COLUMNS if name in columns), image)
    if captions == [CAPTION_COLUMNS[0]]:
        captions = [next((name for name in CAPTION_COLUMNS if name in columns), captions[0])]
    return image, captions


def _kind(files: Sequence[str], pattern: str) -> str:
    kinds = set()
    for file in files:
        # A URL may carry a query; a pipe's command ends in anything.
        path = file.split("?")[0].lower() if "://" in file else file.lower()
        suffixes = [kind for kind, endings in KINDS.items() if path.endswith(endings)]
        kinds.add("tar" if file.startswith("pipe:") else suffixes[0] if suffixes else Path(path).suffix or "none")
    if len(kinds) != 1 or not kinds <= set(KINDS):
        endings = ", ".join(ending for each in KINDS.values() for ending in each)
        raise ValueError(
            f"train_files {pattern!r} must be files of one kind that end in {endings}; got {', '.join(sorted(kinds))}"
        )
    return kinds.pop()


def _csv_table(files: list[str], image_column: str, captions: list[str], name: str, seed: int) -> TableRows:
    import datasets

    with open(files[0], encoding="utf-8-sig", errors="replace", newline="") as file:
        header = file.readline()
    # By what is there, not by the name: open_clip's tables are often called .csv and separated by tabs.
    separator = "\t" if "\t" in header else ","
    columns = next(csv.reader([header], delimiter=separator), [])
    image, captions = choose_columns(columns, image_column, captions)
    check_columns(columns, image, captions, name)
    text = datasets.Value("string")
    table = datasets.load_dataset(
        "csv",
        data_files=files,
        split="train",
        sep=separator,
        # As text, so that a caption "NA" or "12" stays what it is.
        features=datasets.Features({column: text for column in columns}),
        keep_default_na=False,
        encoding_errors="replace",
        on_bad_lines="warn",
    )
    reader = ColumnReader(table.features, image, captions, name, Path(files[0]).parent)
    return TableRows(table.select_columns([image, *captions]), reader, name, seed)


def _json_lines(files: list[str], image_column: str, captions: list[str], name: str, seed: int) -> TableRows:
    import datasets

    table = datasets.load_dataset("text", data_files=files, split="train", encoding_errors="replace")
    columns = _fields_of_first_line(table, name)
    image, captions = choose_columns(columns, image_column, captions)
    check_columns(columns, image, captions, name)
    return TableRows(table, JsonLineReader(image, captions, Path(files[0]).parent), name, seed)


def _fields_of_first_line(table: "datasets.Dataset", name: str) -> list[str]:
    for line in table["text"][:100]:
        try:
            fields = json.loads(line)
        except ValueError:
            continue
        if isinstance(fields, dict):
            return list(fields)
    raise ValueError(f"None of the first lines of {name} is a JSON object")
