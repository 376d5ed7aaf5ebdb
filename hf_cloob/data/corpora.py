# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The corpora that come with the package, by name and split, as any other dataset is named."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datasets

CORPORA = ("emoji", "emoji_compositions", "icons", "flags")


def is_corpus(name: str) -> bool:
    """Whether a dataset's name is one of `CORPORA`, or that with a split, "flags:twemoji"; ./emoji is a folder."""
    return name.partition(":")[0] in CORPORA


def load_corpus(name: str, split: str = "train") -> "datasets.Dataset":
    """One split of a corpus, as it is.

    Splits of emoji: see `load_emoji`; of compositions: see `load_emoji_compositions`. Of icons: `train`, what
    pretraining may use, and `withheld`, the rest. Of flags, which are withheld altogether: the families of drawings.

    Args:
        name: one of `CORPORA`; "NAME:SPLIT" names the split too.
        split: name of the split, where the name has none.

    Raises:
        ValueError: no such corpus or split, or a package that cannot be fetched.
    """
    loaders = {"emoji": _emoji, "emoji_compositions": _emoji_compositions, "icons": _icons, "flags": _flags}
    corpus, _, own_split = name.partition(":")
    if corpus not in loaders:
        raise ValueError(f"The corpora of this package are {', '.join(CORPORA)}; got {name!r}")
    try:
        splits = loaders[corpus]()
    except RuntimeError as error:  # no npm, or nothing to fetch from
        raise ValueError(f"dataset {corpus}: {error}") from error
    split = own_split or split
    if split not in splits:
        raise ValueError(f"{corpus} has no split {split!r}; its splits are {list(splits)}")
    return splits[split]


def corpus_columns(dataset: "datasets.Dataset", with_concept: bool = False) -> tuple[str, str, str | None]:
    """Columns of a corpus' images, of its captions, and of its concepts if they are asked for and it has some."""
    captions = "captions" if "captions" in dataset.column_names else "caption"
    concepts = [column for column in ("concept", "code") if column in dataset.column_names] if with_concept else []
    return "image", captions, next(iter(concepts), None)


def _emoji() -> "datasets.DatasetDict":
    from .emoji import load_emoji

    return load_emoji()


def _emoji_compositions() -> "datasets.DatasetDict":
    from .emoji_compositions import load_emoji_compositions

    return load_emoji_compositions()


def _icons() -> "datasets.DatasetDict":
    from .icons import load_icons

    icons = load_icons()
    return _by_split(icons, ["withheld" if withheld else "train" for withheld in icons["names_withheld"]])


def _flags() -> "datasets.DatasetDict":
    from .flags import load_flags

    flags = load_flags()
    return _by_split(flags, flags["family"])


def _by_split(dataset: "datasets.Dataset", names: Iterable[str]) -> "datasets.DatasetDict":
    import datasets

    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(name, []).append(row)
    return datasets.DatasetDict({name: dataset.select(own) for name, own in rows.items()})
