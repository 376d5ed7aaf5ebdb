# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Any dataset of images and captions as one shape: columns `image`, `captions` (list of strings), maybe `concept`."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .corpora import corpus_columns, is_corpus, load_corpus

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)


def load_pairs(
    dataset_name: str,
    dataset_config: str | None = None,
    split: str = "train",
    image_column: str = "image",
    caption_column: str = "caption",
    concept_column: str | None = None,
) -> "datasets.Dataset":
    """Load image-text pairs from the Hub, from a local folder, from a dataset saved to disk, or several of these.

    Args:
        dataset_name: a corpus of this package (see `load_corpus`), a Hub dataset, a folder `datasets.load_dataset`
            reads (tar shards, CSV, parquet, pictures with metadata), or one that `save_to_disk` wrote. Several, with
            commas between them, become one dataset, in their order.
        dataset_config: the Hub dataset's configuration.
        split: name of the split.
        image_column: pictures, or their paths or bytes. The package's own corpora have their own columns.
        caption_column: a string, a list of strings, or a class label (whose name is then the caption) for each row.
        concept_column: optional id; two pairs of one concept never meet in a batch.

    Returns:
        `datasets.Dataset` with columns image (still encoded), captions and, if asked for, concept. Rows without a
        caption that says anything are dropped and their number is logged.

    Raises:
        ValueError: the dataset, the split or a column is missing, a caption column is not text, or no row is left.
    """
    import datasets

    parts = []
    for name in dataset_names(dataset_name):
        dataset, shown = load_table(name, dataset_config, split), f"{name} ({split})"
        columns = image_column, caption_column, concept_column
        if is_corpus(name):
            columns = corpus_columns(dataset, with_concept=concept_column is not None)
        parts.append(normalize_pairs(dataset, *columns, name=shown))
    return parts[0] if len(parts) == 1 else datasets.concatenate_datasets(parts)


def dataset_names(dataset_name: str) -> list[str]:
    """The names in "NAME,NAME"; an existing folder is one name, whatever it is called.

    Raises:
        ValueError: an empty name.
    """
    if Path(dataset_name).exists():
        return [dataset_name]
    names = [name.strip() for name in dataset_name.split(",")]
    if not all(names):
        raise ValueError(f"dataset_name must be names with commas between them, got {dataset_name!r}")
    return names


def normalize_pairs(
    dataset: "datasets.Dataset",
    image_column: str = "image",
    caption_column: str = "caption",
    concept_column: str | None = None,
    name: str = "the dataset",
) -> "datasets.Dataset":
    """Give a dataset the columns image, captions and maybe concept; see `load_pairs`."""
    import datasets

    wanted = {"image_column": image_column, "caption_column": caption_column, "concept_column": concept_column}
    for argument, column in wanted.items():
        if column is not None and column not in dataset.column_names:
            raise ValueError(f"{name} has no column {column!r} ({argument}); its columns are {dataset.column_names}")
    captions = _captions(dataset, caption_column, name)
    pairs = dataset.select_columns([image_column])
    if image_column != "image":
        pairs = pairs.rename_column(image_column, "image")
    if not isinstance(pairs.features["image"], datasets.Image):
        pairs = _as_images(pairs, image_column, name)
    text = datasets.Value("string")
    pairs = pairs.add_column("captions", captions, feature=datasets.List(text))
    if concept_column is not None:
        concepts = [None if concept is None else str(concept) for concept in dataset[concept_column]]
        pairs = pairs.add_column("concept", concepts, feature=text)
    kept = [index for index, own in enumerate(captions) if own]
    if not kept:
        raise ValueError(f"No row of {name} has a caption: all {len(captions)} in {caption_column!r} are empty")
    if len(kept) < len(captions):
        logger.warning("%s: %d of %d rows dropped: empty caption", name, len(captions) - len(kept), len(captions))
        pairs = pairs.select(kept)
    return pairs


def clean_captions(value: str | list[str | None] | None) -> list[str]:
    """A row's captions as a list: whitespace collapsed, empty ones and repetitions left out, order kept."""
    texts = [value] if isinstance(value, str) else value or []
    cleaned = (" ".join(text.split()) for text in texts if text is not None)
    return list(dict.fromkeys(text for text in cleaned if text))


def load_table(dataset_name: str, dataset_config: str | None, split: str) -> "datasets.Dataset":
    """One split of a dataset, as it is: a corpus of this package (see `load_corpus`), a Hub dataset, a folder that
    `load_dataset` takes, or what `save_to_disk` wrote.

    Raises:
        ValueError: there is no such dataset or split, or a corpus cannot be fetched.
    """
    import datasets

    if is_corpus(dataset_name):
        return load_corpus(dataset_name, split)
    folder = Path(dataset_name)
    if (folder / "dataset_dict.json").is_file():
        splits = datasets.load_from_disk(str(folder))
        if split not in splits:
            raise ValueError(f"{dataset_name} has no split {split!r}; its splits are {list(splits)}")
        return splits[split]
    if (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file():
        # One split saved by itself, whatever its name.
        return datasets.load_from_disk(str(folder))
    try:
        return datasets.load_dataset(dataset_name, dataset_config, split=split)
    except FileNotFoundError as error:
        raise ValueError(f"No dataset {dataset_name!r} on the Hub or on disk: {error}") from error


def _captions(dataset: "datasets.Dataset", column: str, name: str) -> list[list[str]]:
    import datasets

    feature = dataset.features[column]
    values: Any = dataset[column][:]
    if isinstance(feature, datasets.ClassLabel):
        values = [None if value is None or value < 0 else feature.int2str(value) for value in values]
    else:
        item = getattr(feature, "feature", feature)
        if getattr(item, "dtype", None) not in ("string", "large_string", "null"):
            raise ValueError(f"Column {column!r} of {name} must hold strings or lists of strings, not {feature}")
    return [clean_captions(value) for value in values]


def _as_images(pairs: "datasets.Dataset", column: str, name: str) -> "datasets.Dataset":
    import datasets
    import pyarrow

    feature = pairs.features["image"]
    try:
        return pairs.cast_column("image", datasets.Image())
    except (TypeError, ValueError, pyarrow.ArrowException) as error:
        raise ValueError(f"Column {column!r} of {name} must hold images, paths or bytes, not {feature}") from error
