# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Readers of a suite's images, from one folder a class or from a labelled dataset of the Hub.

All return columns `image` (still encoded) and `label`, an index into the suite's `class_names`.
"""

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .suites import ZeroShotSuite

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".ppm", ".bmp"})
# How a dataset's own label numbers are read.
LabelOrder = Literal["names", "suite"]


def read_image_folder(
    folder: str | Path, suite: ZeroShotSuite, file_list: str | Path | None = None
) -> "datasets.Dataset":
    """Reads images that lie in one folder a class: `folder/KEY/*.jpg`, nested keys (`a/abbey`) included.

    A folder is placed by its name, compared with the suite's class names and keys in letters and digits alone. Other
    files than images are passed over.

    Args:
        folder: holds the classes' folders.
        suite: its `class_names` and `class_keys` place the folders.
        file_list: the split's images, one path relative to `folder` a line, suffix optional; None: all.

    Raises:
        ValueError: no image, a folder that is no class of the suite, an image outside of any, a listed file that is
            not there.
    """
    import datasets

    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder of images.")
    files = _listed_files(folder, Path(file_list)) if file_list else _all_images(folder)
    keys = [file.relative_to(folder).parent.as_posix() for file in files]
    if "." in keys:
        raise ValueError(f"{files[keys.index('.')]} lies in no class's folder; expected {folder}/CLASS/image.jpg.")
    placed = place_classes(keys, suite, where=str(folder))
    rows = sorted((placed[key], str(file)) for key, file in zip(keys, files, strict=True) if placed[key] is not None)
    if not rows:
        raise ValueError(f"{folder} holds no image of suite {suite.name!r} ({', '.join(sorted(IMAGE_SUFFIXES))}).")
    check_size(len(rows), {label for label, _ in rows}, suite, where=str(folder))
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    columns = {"image": [file for _, file in rows], "label": [label for label, _ in rows]}
    return datasets.Dataset.from_dict(columns, features=features)


def read_hub_dataset(
    dataset_name: str,
    suite: ZeroShotSuite,
    split: str | None = None,
    dataset_config: str | None = None,
    image_column: str = "image",
    label_column: str = "label",
    label_order: LabelOrder = "names",
) -> "datasets.Dataset":
    """Reads a labelled dataset from the Hub, from a folder `datasets.load_dataset` reads, or one saved to disk.

    Args:
        dataset_name: Hub id or folder.
        suite: whose classes the labels are.
        split: the suite's unless given.
        dataset_config: the Hub dataset's configuration.
        image_column, label_column: CLIP_benchmark's datasets call them `webp` (`jpg`, `png`) and `cls`.
        label_order: as in `label_rows`.

    Raises:
        ValueError: no such dataset or split, or as in `label_rows`.
    """
    import datasets

    split = split or suite.split
    folder = Path(dataset_name)
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        loaded = datasets.load_from_disk(dataset_name)
        if isinstance(loaded, datasets.DatasetDict) and split not in loaded:
            raise ValueError(f"{dataset_name} has no split {split!r}; its splits are {list(loaded)}.")
        dataset = loaded[split] if isinstance(loaded, datasets.DatasetDict) else loaded
    else:
        try:
            dataset = datasets.load_dataset(dataset_name, dataset_config, split=split)
        except FileNotFoundError as error:
            raise ValueError(f"No dataset {dataset_name!r} on the Hub or on disk: {error}") from error
    return label_rows(dataset, suite, image_column, label_column, label_order, name=f"{dataset_name} ({split})")


def label_rows(
    dataset: "datasets.Dataset",
    suite: ZeroShotSuite,
    image_column: str = "image",
    label_column: str = "label",
    label_order: LabelOrder = "names",
    name: str = "the dataset",
) -> "datasets.Dataset":
    """Gives a loaded dataset the columns image and label, labels as indices into the suite's class names.

    Args:
        dataset: has pictures and class labels, strings or integers.
        suite: whose classes they are.
        image_column, label_column: the columns' names.
        label_order: "names" places each label by its class's name (class labels and strings); "suite" takes its number
            as it is, because the dataset counts in the suite's order.
        name: of the dataset, for messages.

    Raises:
        ValueError: a column that is not there, a label without a name or outside of the suite, no row.
    """
    import datasets

    for argument, column in (("image_column", image_column), ("label_column", label_column)):
        if column not in dataset.column_names:
            raise ValueError(f"{name} has no column {column!r} ({argument}); its columns are {dataset.column_names}.")
    if label_order not in ("names", "suite"):
        raise ValueError(f"label_order is {label_order!r}; allowed: 'names', 'suite'.")
    labels = _labels(dataset, suite, label_column, label_order, name)
    kept = [index for index, label in enumerate(labels) if label is not None]
    if not kept:
        raise ValueError(f"{name} has no row of suite {suite.name!r}.")
    if len(kept) < len(labels):
        logger.warning("%s: %d of %d rows are of no class", name, len(labels) - len(kept), len(labels))
        dataset = dataset.select(kept)
    labels = [labels[index] for index in kept]
    check_size(len(labels), set(labels), suite, where=name)
    rows = dataset.select_columns([image_column])
    if image_column != "image":
        rows = rows.rename_column(image_column, "image")
    if not isinstance(rows.features["image"], datasets.Image):
        rows = rows.cast_column("image", datasets.Image())
    return rows.add_column("label", labels, feature=datasets.Value("int64"))


def place_classes(keys: Iterable[str], suite: ZeroShotSuite, where: str) -> dict[str, int | None]:
    """Finds the label of each folder or class name; None for the suite's `ignored_keys`.

    Raises:
        ValueError: a key that is no class of the suite.
    """
    labels: dict[str, int | None] = {_letters(key): None for key in suite.ignored_keys}
    # A name that the user gave wins over the key that is shipped for that place.
    for names in (suite.class_keys, suite.class_names):
        labels |= {_letters(name): label for label, name in enumerate(names)}
    found = {key: _letters(key) for key in dict.fromkeys(keys)}
    unknown = [key for key, letters in found.items() if letters not in labels]
    if unknown:
        folders = {key.partition("/")[0] for key in found}
        inside = len(folders) == 1 and all(_letters(key.partition("/")[2]) in labels for key in found)
        hint = f" They are in {where}/{folders.pop()}: give that folder." if inside else ""
        raise ValueError(
            f"{len(unknown)} of {len(found)} classes of {where} are not in suite {suite.name!r}, for example "
            f"{', '.join(map(repr, unknown[:5]))}; the suite has, for example, "
            f"{', '.join(map(repr, (suite.class_keys or suite.class_names)[:3]))}.{hint}"
        )
    return {key: labels[letters] for key, letters in found.items()}


def check_labels(labels: Iterable[object], suite: ZeroShotSuite, where: str) -> None:
    """Raises ValueError for a label that is no index into the suite's class names."""
    last = len(suite.class_names) - 1
    for label in labels:
        if not isinstance(label, int) or not 0 <= label <= last:
            raise ValueError(f"{where} has the label {label!r}; suite {suite.name!r} has 0 to {last}.")


def check_size(num_images: int, labels: set[int], suite: ZeroShotSuite, where: str) -> None:
    """Warns of a part of the suite, whose figures are no figures of the suite."""
    if suite.num_images is not None and num_images != suite.num_images:
        logger.warning("%s: %d images, but %s has %d", where, num_images, suite.title, suite.num_images)
    if len(labels) < len(suite.class_names):
        empty = len(suite.class_names) - len(labels)
        logger.warning("%s: %d of %d classes have no image", where, empty, len(suite.class_names))


def _letters(key: str) -> str:
    return re.sub(r"[\W_]", "", key).casefold()


def _all_images(folder: Path) -> list[Path]:
    files = (file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
    # Hidden files are what editors and archives of one system leave beside the images.
    return sorted(file for file in files if not any(part.startswith(".") for part in file.relative_to(folder).parts))


def _listed_files(folder: Path, file_list: Path) -> list[Path]:
    if not file_list.is_file():
        raise ValueError(f"{file_list}, the list of images, is not there.")
    files = []
    for line in file_list.read_text(encoding="utf-8").splitlines():
        if line.strip():
            path = folder / line.strip()
            candidates = [path, *(path.with_name(path.name + suffix) for suffix in sorted(IMAGE_SUFFIXES))]
            present = [candidate for candidate in candidates if candidate.is_file()]
            if not present:
                raise ValueError(f"{file_list} lists {line.strip()!r}, which is not in {folder}.")
            files.append(present[0])
    return files


def _labels(
    dataset: "datasets.Dataset", suite: ZeroShotSuite, column: str, label_order: LabelOrder, name: str
) -> list[int | None]:
    import datasets

    feature = dataset.features[column]
    values = dataset[column][:]
    if isinstance(feature, datasets.ClassLabel) and label_order == "names":
        # Some published splits mark hidden labels with -1.
        if None in values or min(values, default=0) < 0:
            raise ValueError(f"{name} has rows without a label in {column!r}; take a split that has them.")
        placed = place_classes(feature.names, suite, where=name)
        return [placed[feature.names[value]] for value in values]
    if label_order == "names" and all(isinstance(value, str) for value in values):
        placed = place_classes(values, suite, where=name)
        return [placed[value] for value in values]
    if label_order == "names":
        raise ValueError(
            f"The labels in {column!r} of {name} have no names ({feature}); pass label_order='suite' if they count in "
            "the order of the suite's class_names."
        )
    check_labels(values, suite, where=name)
    return values
