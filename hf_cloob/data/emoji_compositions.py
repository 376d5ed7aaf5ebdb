# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Pictures of two to four emoji of falling salience, with captions that name all of them in random order.

They ask what a contrastive model learns of the object that stands out least (`hf_cloob.evaluation.explaining_away`).
The protocol is that of the emoji (`emoji_protocol`): training families for training, Noto for selection (concepts of
half A) and for the reported figures (half B).
"""

import logging
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .composed_pictures import CONTRASTS, INK_RATIO, LARGEST_INK_SHARE, Drawing, compose, cut_out, place, sides_of
from .dataset_cache import build_once, corpus_folder, png_cell, read_report, write_report
from .emoji import BUILD_VERSION as EMOJI_VERSION
from .emoji import load_emoji
from .emoji_packages import EMOJI_FAMILIES, EMOJIBASE
from .emoji_protocol import COMPLETE_FAMILIES, PROTOCOL_SEED, TEST_FAMILY, in_selection_half
from .npm_packages import default_cache_dir

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)

# Raised whenever the same ingredients would give another dataset, so that old ones in a cache are not taken for it.
BUILD_VERSION = 1
# Things: people, faces and symbols hold too many near twins for drawings of a few pixels.
GROUPS = ("animals-nature", "food-drink", "travel-places", "activities", "objects")
# Thinner drawings would have to be larger than their rank allows.
LEAST_INK_SHARE = 0.4
NUM_DRAWINGS = (2, 3, 4)
# Split -> sets of concepts, and pictures of each set: other drawings, places and ranks, the same caption.
SIZES = {"train": (6000, 3), "selection": (1000, 1), "probe": (8000, 1), "test": (2000, 1)}
# Those drawn first leave the fewest sets to the others.
DRAWN_IN_ORDER = ("test", "probe", "selection", "train")

# Concept -> family -> drawing.
Drawings = Mapping[str, Mapping[str, Drawing]]


@dataclass(frozen=True)
class Composition:
    """One picture to draw, most salient drawing first.

    Args:
        concepts, families: one each a drawing.
        boxes: (left, top, side) of each, in pixels.
        caption: names all of them, in another random order.
    """

    concepts: tuple[str, ...]
    families: tuple[str, ...]
    boxes: tuple[tuple[int, int, int], ...]
    caption: str


def load_emoji_compositions(
    cache_dir: str | os.PathLike | None = None, image_size: int = 64
) -> "datasets.DatasetDict":
    """The compositions, drawn on the first call and read from disk later.

    Splits: `train` (training families; all concepts), `selection` (Noto, half A), `probe` and `test` (Noto, half B:
    what a probe learns from, and what is reported). No set of concepts occurs in two splits; within `train` a set has
    three pictures, which share their caption and so never meet in a batch. Columns: image, caption, captions (the
    caption alone), concepts and labels (most salient first), families, boxes (left, top and side of each drawing).

    Args:
        cache_dir: where packages and datasets are kept; $HF_CLOOB_CACHE or ~/.cache/hf_cloob without it.
        image_size: side of the square pictures, in pixels.

    Raises:
        ValueError: `image_size` is below 8, or a package differs from its recorded sha512.
        RuntimeError: npm is missing or could not fetch a package.
    """
    import datasets

    cache_dir = Path(cache_dir) if cache_dir is not None else default_cache_dir()
    folder = corpus_folder(cache_dir, "emoji_compositions", image_size, _ingredients())
    build_once(folder, lambda aside: _build(cache_dir, image_size, aside))
    read_report(folder, "composition")
    return datasets.DatasetDict({split: datasets.load_from_disk(str(folder / split)) for split in SIZES})


def composed_concepts(emoji: "datasets.DatasetDict") -> tuple[Drawings, dict[str, str]]:
    """The concepts that compositions are made of: their drawings by family, and their labels.

    They are seen things that all complete families draw with enough ink, and whose label holds neither a comma nor the
    word "and", so that a caption reads in one way only.
    """
    drawings: dict[str, dict[str, Drawing]] = {}
    labels: dict[str, str] = {}
    for split in ("train", "selection", "test_seen"):
        rows = emoji[split].select_columns(["image", "concept", "family", "label", "group"])
        for row in rows:
            if row["group"] in GROUPS and row["family"] in COMPLETE_FAMILIES and not _reads_as_list(row["label"]):
                drawings.setdefault(row["concept"], {})[row["family"]] = cut_out(row["image"])
                labels[row["concept"]] = row["label"]
    kept = {
        concept: own
        for concept, own in sorted(drawings.items())
        if len(own) == len(COMPLETE_FAMILIES) and min(drawing.ink_share for drawing in own.values()) >= LEAST_INK_SHARE
    }
    return kept, {concept: labels[concept] for concept in kept}


def draw_compositions(
    drawings: Drawings,
    labels: Mapping[str, str],
    families: Sequence[str],
    num_sets: int,
    pictures_per_set: int,
    image_size: int,
    taken: set[frozenset[str]],
    rng: random.Random,
) -> list[Composition]:
    """Draw sets of two to four concepts that are not taken yet, as many of each size, and pictures of each.

    Args:
        drawings: the concepts to draw from.
        labels: their names in captions.
        families: the families to draw from, one for each drawing.
        num_sets, pictures_per_set: how many.
        image_size: side of the pictures in pixels.
        taken: sets that may not be drawn; what is drawn is added.
        rng: decides everything.

    Raises:
        ValueError: fewer than four concepts.
    """
    concepts = list(drawings)
    if len(concepts) < max(NUM_DRAWINGS):
        raise ValueError(f"compositions need at least {max(NUM_DRAWINGS)} concepts, got {len(concepts)}.")
    compositions: list[Composition] = []
    for number in range(num_sets):
        size = NUM_DRAWINGS[number % len(NUM_DRAWINGS)]
        while (chosen := frozenset(rng.sample(concepts, size))) in taken:
            pass
        taken.add(chosen)
        spoken = sorted(chosen)
        rng.shuffle(spoken)
        caption = joined([labels[concept] for concept in spoken])
        for _ in range(pictures_per_set):
            compositions.append(_draw_one(sorted(chosen), drawings, families, caption, image_size, rng))
    return compositions


def joined(names: Sequence[str]) -> str:
    """ "a and b", "a, b and c"."""
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _draw_one(
    concepts: list[str],
    drawings: Drawings,
    families: Sequence[str],
    caption: str,
    image_size: int,
    rng: random.Random,
) -> Composition:
    """Draw ranks, families and places; a rare draw whose squares do not fit is drawn again."""
    while True:
        ranked = rng.sample(concepts, len(concepts))
        own = [rng.choice(families) for _ in ranked]
        sides = sides_of([drawings[concept][family] for concept, family in zip(ranked, own, strict=True)], image_size)
        boxes = place(sides, image_size, rng)
        if boxes is not None:
            return Composition(tuple(ranked), tuple(own), tuple(boxes), caption)


def _reads_as_list(label: str) -> bool:
    return "," in label or "and" in label.lower().split()


def _ingredients() -> list[Any]:
    packages = [asdict(package) for package in (EMOJIBASE, *EMOJI_FAMILIES.values())]
    look = [LARGEST_INK_SHARE, INK_RATIO, CONTRASTS, LEAST_INK_SHARE]
    return [BUILD_VERSION, EMOJI_VERSION, PROTOCOL_SEED, SIZES, DRAWN_IN_ORDER, GROUPS, NUM_DRAWINGS, look, packages]


def _build(cache_dir: Path, image_size: int, folder: Path) -> None:
    import datasets
    from datasets.utils import tqdm

    drawings, labels = composed_concepts(load_emoji(cache_dir))
    halves = {half: {c: own for c, own in drawings.items() if in_selection_half(c) == half} for half in (True, False)}
    taken: set[frozenset[str]] = set()
    for split in tqdm(DRAWN_IN_ORDER, desc="Drawing compositions"):
        training = split == "train"
        compositions = draw_compositions(
            drawings if training else halves[split == "selection"],
            labels,
            [family for family in COMPLETE_FAMILIES if (family != TEST_FAMILY) == training],
            *SIZES[split],
            image_size,
            taken,
            random.Random(f"{PROTOCOL_SEED}:{split}"),
        )
        rows = [_row(composition, drawings, labels, image_size) for composition in compositions]
        dataset = datasets.Dataset.from_list(rows, features=_features(), split=datasets.NamedSplit(split))
        dataset.save_to_disk(str(folder / split))
    report = {"unreadable": [], "concepts": len(drawings), "concepts_by_half": [len(halves[True]), len(halves[False])]}
    write_report(folder, report)
    logger.info("Built the compositions of %d concepts", len(drawings))


def _row(composition: Composition, drawings: Drawings, labels: Mapping[str, str], image_size: int) -> dict[str, Any]:
    pairs = zip(composition.concepts, composition.families, strict=True)
    picture = compose([drawings[concept][family] for concept, family in pairs], composition.boxes, image_size)
    return {
        "image": png_cell(picture),
        "caption": composition.caption,
        "captions": [composition.caption],
        "concepts": list(composition.concepts),
        "labels": [labels[concept] for concept in composition.concepts],
        "families": list(composition.families),
        "boxes": [list(box) for box in composition.boxes],
    }


def _features() -> "datasets.Features":
    from datasets import Features, Image, List, Value

    text = Value("string")
    return Features(
        {
            "image": Image(),
            "caption": text,
            "captions": List(text),
            "concepts": List(text),
            "labels": List(text),
            "families": List(text),
            "boxes": List(List(Value("int32"))),
        }
    )
