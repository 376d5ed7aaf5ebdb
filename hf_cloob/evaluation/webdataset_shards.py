# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""CLIP_benchmark's layout: tar shards beside `classnames.txt` and `zeroshot_classification_templates.txt`.

folder/{split}/0.tar, 1.tar … (or folder/*.tar), each with KEY.webp (png, jpg, jpeg) and KEY.cls, KEY.npy (several
classes) or KEY.txt (captions). Only these members are read, as images, digits, a plain array and text; nothing is
unpickled. Images stay encoded: they are copied once into the cache of `datasets`.
"""

import io
import logging
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .suite_readers import check_labels, check_size
from .suites import CLASS_NAMES_FILE, ZeroShotSuite, read_class_names

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)

IMAGE_MEMBERS = ("webp", "png", "jpg", "jpeg")


def read_webdataset(
    folder: str | Path, suite: ZeroShotSuite, split: str | None = None, cache_dir: str | Path | None = None
) -> "datasets.Dataset":
    """Reads a labelled dataset in CLIP_benchmark's layout.

    Args:
        folder: holds the shards and maybe `classnames.txt`, which orders its labels; load the suite with
            `load_suite(name, folder)` so that its names are these.
        suite: its class names give the labels their meaning.
        split: the suite's unless given.
        cache_dir: where the images are copied; the cache of `datasets` unless given.

    Returns:
        Columns image and label, an index into the suite's class names; for several classes an image, a list `labels`.
        Samples without an image or a label are left out and their number is logged.

    Raises:
        ValueError: no shard, a missing or damaged one, class names other than the suite's, a label outside of them.
    """
    import datasets

    own = Path(folder) / CLASS_NAMES_FILE
    if own.is_file() and read_class_names(own) != suite.class_names:
        raise ValueError(
            f"{own} orders the labels otherwise than suite {suite.name!r}; load it as load_suite({suite.name!r}, "
            f"{str(folder)!r}), or as load_suite_folder({str(folder)!r})."
        )
    parsers = {"cls": _single_label, "npy": _several_labels}
    kind, rows = _index(Path(folder), split or suite.split, parsers)
    labels = [row["value"] for row in rows]
    flat = labels if kind == "cls" else [label for several in labels for label in several]
    check_labels(flat, suite, where=str(folder))
    check_size(len(rows), set(flat), suite, where=str(folder))
    number = datasets.Value("int64")
    column, feature = ("label", number) if kind == "cls" else ("labels", datasets.List(number))
    return _dataset(rows, column, feature, cache_dir)


def read_webdataset_captions(
    folder: str | Path, split: str = "test", cache_dir: str | Path | None = None
) -> "datasets.Dataset":
    """Reads a retrieval dataset in CLIP_benchmark's layout: one caption a line in KEY.txt.

    Args, errors: as in `read_webdataset`.

    Returns:
        Columns image and captions (list of strings).
    """
    import datasets

    _, rows = _index(Path(folder), split, {"txt": _captions})
    return _dataset(rows, "captions", datasets.List(datasets.Value("string")), cache_dir)


def _shards(folder: Path, split: str) -> list[Path]:
    place = folder / split if (folder / split).is_dir() else folder
    shards = sorted(place.glob("*.tar"), key=lambda path: (len(path.name), path.name))
    if not shards:
        raise ValueError(f"Neither {folder / split} nor {folder} holds a .tar shard.")
    count = place / "nshards.txt"
    if count.is_file() and count.read_text(encoding="utf-8").strip() != str(len(shards)):
        announced = count.read_text(encoding="utf-8").strip()
        raise ValueError(f"{count} announces {announced} shards, but {len(shards)} are there.")
    return shards


def _index(folder: Path, split: str, parsers: dict[str, Callable[[bytes], Any]]) -> tuple[str, list[dict[str, Any]]]:
    """Lists the samples of all shards: where each image's bytes lie, and what its other member says."""
    rows, incomplete, kinds = [], 0, set()
    for shard in _shards(folder, split):
        for key, members in _samples(shard).items():
            image = next((members[suffix] for suffix in IMAGE_MEMBERS if suffix in members), None)
            kind = next((suffix for suffix in parsers if suffix in members), None)
            if image is None or kind is None or not image.size:
                incomplete += 1
                continue
            kinds.add(kind)
            try:
                value = parsers[kind](_read(shard, members[kind].offset_data, members[kind].size))
            except ValueError as error:
                raise ValueError(f"{key}.{kind} of {shard} does not read: {error}") from error
            rows.append({"shard": str(shard), "offset": image.offset_data, "size": image.size, "value": value})
    if len(kinds) != 1:
        found = " and ".join(sorted(kinds)) or "no sample"
        wanted = " or ".join(parsers)
        raise ValueError(f"The shards of {folder} ({split}) hold {found}; expected images that all have {wanted}.")
    if incomplete:
        logger.warning("%s: %d samples left out: no image or no %s", folder, incomplete, "/".join(parsers))
    return kinds.pop(), rows


def _samples(shard: Path) -> dict[str, dict[str, tarfile.TarInfo]]:
    """Groups a shard's regular files by what stands before the first dot of their name, as WebDataset does."""
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    end = shard.stat().st_size
    try:
        # "r:" takes uncompressed archives only: the image bytes are read in place.
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                directory, _, name = member.name.rpartition("/")
                stem, _, suffix = name.partition(".")
                if member.offset_data + member.size > end:
                    raise ValueError(f"{shard} ends within {member.name}: it is cut off.")
                if member.isreg() and not member.issparse() and stem:
                    samples.setdefault(f"{directory}/{stem}", {})[suffix.lower()] = member
    except tarfile.TarError as error:
        raise ValueError(f"{shard} does not read as an uncompressed tar file: {error}") from error
    return samples


def _read(shard: str | Path, offset: int, size: int) -> bytes:
    with open(shard, "rb") as file:
        file.seek(offset)
        return file.read(size)


def _single_label(content: bytes) -> int:
    return int(content.decode("ascii"))


def _several_labels(content: bytes) -> list[int]:
    import numpy

    marks = numpy.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    if marks.ndim != 1:
        raise ValueError(f"expected one mark a class, got an array of shape {marks.shape}")
    return numpy.flatnonzero(marks > 0).tolist()


def _captions(content: bytes) -> list[str]:
    captions = [line.strip() for line in content.decode("utf-8").splitlines() if line.strip()]
    if not captions:
        raise ValueError("no caption")
    return captions


def _dataset(
    rows: list[dict[str, Any]], column: str, feature: Any, cache_dir: str | Path | None
) -> "datasets.Dataset":
    import datasets

    # The time of change is part of the cache's key: shards replaced under their old names are read again.
    changed = tuple((shard, Path(shard).stat().st_mtime_ns) for shard in sorted({row["shard"] for row in rows}))
    return datasets.Dataset.from_generator(
        _generate,
        features=datasets.Features({"image": datasets.Image(), column: feature}),
        cache_dir=cache_dir and str(cache_dir),
        gen_kwargs={"rows": tuple(rows), "column": column, "changed": changed},
    )


def _generate(
    rows: tuple[dict[str, Any], ...], column: str, changed: tuple[tuple[str, int], ...]
) -> Iterator[dict[str, Any]]:
    for row in rows:
        image = {"bytes": _read(row["shard"], row["offset"], row["size"]), "path": None}
        yield {"image": image, column: row["value"]}
