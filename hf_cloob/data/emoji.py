# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The emoji corpus: real image-text pairs that need no hub, rendered once and kept as a `datasets` dataset on disk.

`load_emoji` gives the splits of the protocol (see `emoji_protocol`), `emoji_classes` the candidates of zero-shot
classification on them.
"""

import hashlib
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .dataset_cache import build_once, corpus_folder, png_cell, read_report, write_report
from .emoji_concepts import EmojiConcept, codepoint_key, emoji_concepts, icons_by_codepoint, icons_by_name
from .emoji_packages import EMOJI_FAMILIES, EMOJIBASE
from .emoji_protocol import COMPLETE_FAMILIES, TRAIN_FAMILIES, WITHHELD_GROUPS, WITHHELD_SUBGROUPS, split_of
from .npm_packages import default_cache_dir, fetch_packages, read_json
from .svg_rendering import iconify_svg, render_svg

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)

SPLITS = ("train", "selection", "test_seen", "test_unseen")
# Raised whenever the same packages would give another dataset, so that old ones in a cache are not taken for it.
BUILD_VERSION = 2


@dataclass(frozen=True)
class EmojiClasses:
    """The candidate concepts of zero-shot classification, in Unicode's order.

    Args:
        concepts, labels: `num_classes` strings each.
        captions: `num_classes` lists of strings, the label first.
        unseen: `num_classes` booleans, True for the concepts withheld from training.
    """

    concepts: list[str]
    labels: list[str]
    captions: list[list[str]]
    unseen: list[bool]


def load_emoji(cache_dir: str | os.PathLike | None = None, image_size: int = 64) -> "datasets.DatasetDict":
    """The emoji corpus, fetched and rendered on the first call and read from disk later.

    Splits: `train` (Twemoji, OpenMoji, Fluent, Firefox OS; seen concepts), `selection` and `test_seen` (Noto, halves A
    and B of the seen concepts), `test_unseen` (Noto, the withheld concepts). Columns: image (RGB on white), caption
    (the label), captions (label first, then tags that tell it from others), tags (all), concept (unique), hexcode,
    label, family, group, subgroup.

    Args:
        cache_dir: where packages and datasets are kept; $HF_CLOOB_CACHE or ~/.cache/hf_cloob without it.
        image_size: side of the square pictures, in pixels.

    Raises:
        ValueError: `image_size` is below 8, or a package differs from its recorded sha512.
        RuntimeError: npm is missing or could not fetch a package.
    """
    import datasets

    cache_dir = Path(cache_dir) if cache_dir is not None else default_cache_dir()
    folder = corpus_folder(cache_dir, "emoji", image_size, _ingredients())
    build_once(folder, lambda aside: _build(cache_dir, image_size, aside))
    read_report(folder, "emoji")
    return datasets.DatasetDict({split: datasets.load_from_disk(str(folder / split)) for split in SPLITS})


def emoji_classes(emoji: "datasets.DatasetDict") -> EmojiClasses:
    """All candidate concepts of the corpus, seen and unseen, in one fixed order."""
    rows = {}
    for split in SPLITS:
        table = emoji[split].select_columns(["concept", "label", "captions", "order"])
        rows.update({row["concept"]: (row["order"], row, split == "test_unseen") for row in table})
    ordered = sorted(rows.values(), key=lambda entry: entry[0])
    return EmojiClasses(
        concepts=[row["concept"] for _, row, _ in ordered],
        labels=[row["label"] for _, row, _ in ordered],
        captions=[row["captions"] for _, row, _ in ordered],
        unseen=[unseen for _, _, unseen in ordered],
    )


def _ingredients() -> list[Any]:
    packages = [asdict(package) for package in (EMOJIBASE, *EMOJI_FAMILIES.values())]
    return [BUILD_VERSION, WITHHELD_SUBGROUPS, packages]


def _build(cache_dir: Path, image_size: int, folder: Path) -> None:
    import datasets
    from datasets.utils import tqdm

    paths = fetch_packages([EMOJIBASE, *EMOJI_FAMILIES.values()], cache_dir)
    concepts, icons = _read_packages(paths)
    rows: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    report: dict[str, Any] = {"unreadable": [], "ambiguous": []}
    for family, package in tqdm(EMOJI_FAMILIES.items(), desc="Rendering emoji families"):
        collection = read_json(paths[package.name], "icons.json")
        for row in _render_family(family, collection, icons[family], concepts, image_size, report):
            split = split_of(family, row["concept"], row["subgroup"])
            if split is not None:
                rows[split].append(row)
    report["sizes"] = {split: len(split_rows) for split, split_rows in rows.items()}
    for split, split_rows in rows.items():
        dataset = datasets.Dataset.from_list(split_rows, features=_features(), split=datasets.NamedSplit(split))
        dataset.save_to_disk(str(folder / split))
    write_report(folder, report)
    logger.info("Built the emoji corpus: %s", report["sizes"])


def _read_packages(paths: Mapping[str, Path]) -> tuple[list[EmojiConcept], dict[str, dict[str, str]]]:
    """The concepts, and for each family codepoint key -> icon name."""
    base = paths[EMOJIBASE.name]
    icons = {
        family: icons_by_codepoint(read_json(paths[EMOJI_FAMILIES[family].name], "chars.json"))
        for family in COMPLETE_FAMILIES
    }
    concepts = emoji_concepts(
        read_json(base, "en/data.json"), read_json(base, "meta/groups.json"), list(icons.values()), WITHHELD_GROUPS
    )
    unicode_names = read_json(base, "meta/unicode-names.json")
    for family in TRAIN_FAMILIES:
        if family not in icons:
            names = read_json(paths[EMOJI_FAMILIES[family].name], "icons.json")["icons"]
            icons[family] = icons_by_name(names, concepts, unicode_names)
    return concepts, icons


def _render_family(
    family: str,
    collection: Mapping[str, Any],
    icons: Mapping[str, str],
    concepts: list[EmojiConcept],
    image_size: int,
    report: dict[str, Any],
) -> list[dict[str, Any]]:
    """One row a concept that the family draws.

    Families use some drawings twice (Noto's astronaut is also its man and its woman astronaut). Such a picture has no
    one right name, and shown under a seen name it may give away a withheld one: it stays with its withheld concept,
    else with the first in Unicode's order, and the others are left out and reported.
    """
    rows, owners = [], {}
    order = {concept.concept: position for position, concept in enumerate(concepts)}
    for concept in sorted(concepts, key=lambda concept: concept.subgroup not in WITHHELD_SUBGROUPS):
        icon = icons.get(codepoint_key(concept.hexcode))
        if icon is None:
            continue
        try:
            image = render_svg(iconify_svg(collection, icon), image_size)
        except (KeyError, ValueError) as error:
            report["unreadable"].append({"family": family, "icon": icon, "cause": str(error)[:200]})
            continue
        owner = owners.setdefault(hashlib.sha256(image.tobytes()).digest(), concept.concept)
        if owner != concept.concept:
            report["ambiguous"].append({"family": family, "concept": concept.concept, "drawn_as": owner})
            continue
        rows.append(
            {
                "image": png_cell(image),
                "caption": concept.label,
                **asdict(concept),
                "family": family,
                "order": order[concept.concept],
            }
        )
    return sorted(rows, key=lambda row: row["order"])


def _features() -> "datasets.Features":
    from datasets import Features, Image, List, Value

    text = Value("string")
    return Features(
        {
            "image": Image(),
            "caption": text,
            "captions": List(text),
            "tags": List(text),
            "concept": text,
            "hexcode": text,
            "label": text,
            "family": text,
            "group": text,
            "subgroup": text,
            "order": Value("int32"),
        }
    )
