# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Who is withheld in the emoji experiments: a style, twelve subgroups of concepts, and the half for selection.

Near twins (a man, a woman and a person doing one thing, the faces of a clock) stand in one subgroup of Unicode's
order, so a random split of concepts would leak; whole subgroups do not.
"""

import hashlib
import random
from collections.abc import Mapping

TRAIN_FAMILIES = ("twemoji", "openmoji", "fluent", "fxemoji")
TEST_FAMILY = "noto"
# Families every concept of the protocol has a drawing in; fxemoji is smaller and joins where it can.
COMPLETE_FAMILIES = ("twemoji", "openmoji", "fluent", "noto")
# Flags are kept for fine-grained retrieval; component (skin tones, hair) holds no concept of its own.
WITHHELD_GROUPS = ("flags", "component")

PROTOCOL_SEED = 2026
NUM_WITHHELD_SUBGROUPS = 12
WITHHELD_SHARE = (0.14, 0.16)
WITHHELD_SUBGROUPS = (
    "cat-face",
    "computer",
    "face-neutral-skeptical",
    "geometric",
    "mail",
    "person-activity",
    "person-fantasy",
    "phone",
    "place-geographic",
    "place-religious",
    "punctuation",
    "sky-weather",
)


def choose_withheld_subgroups(subgroup_sizes: Mapping[str, int]) -> tuple[str, ...]:
    """Draw 12 subgroups whose concepts are about 15 % of all; `WITHHELD_SUBGROUPS` is what it gave, once.

    Samples of 12 names (of the sorted names) are drawn from PROTOCOL_SEED until one's share lies in WITHHELD_SHARE.

    Args:
        subgroup_sizes: number of concepts of each subgroup.

    Returns:
        tuple of 12 names, sorted.
    """
    names, total, rng = sorted(subgroup_sizes), sum(subgroup_sizes.values()), random.Random(PROTOCOL_SEED)
    while True:
        chosen = rng.sample(names, NUM_WITHHELD_SUBGROUPS)
        share = sum(subgroup_sizes[name] for name in chosen) / total
        if WITHHELD_SHARE[0] <= share <= WITHHELD_SHARE[1]:
            return tuple(sorted(chosen))


def in_selection_half(concept: str) -> bool:
    """Whether a seen concept is in half A (selection and tuning); half B is for the reported figures."""
    return hashlib.sha256(f"{PROTOCOL_SEED}:{concept}".encode()).digest()[0] % 2 == 0


def split_of(family: str, concept: str, subgroup: str) -> str | None:
    """The split a picture belongs to, or None for a withheld concept in a training family."""
    unseen = subgroup in WITHHELD_SUBGROUPS
    if family != TEST_FAMILY:
        return None if unseen else "train"
    if unseen:
        return "test_unseen"
    return "selection" if in_selection_half(concept) else "test_seen"
