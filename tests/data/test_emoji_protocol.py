# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The protocol's constants are what its rule gives on the real packages."""

from collections import Counter

from hf_cloob.data.emoji_protocol import (
    NUM_WITHHELD_SUBGROUPS,
    WITHHELD_SUBGROUPS,
    choose_withheld_subgroups,
    in_selection_half,
    split_of,
)


def subgroup_sizes(emoji):
    subgroup_of = {}
    for split in emoji.values():
        subgroup_of.update(zip(split["concept"], split["subgroup"], strict=True))
    return Counter(subgroup_of.values())


def test_the_committed_subgroups_are_what_the_rule_draws(emoji):
    assert choose_withheld_subgroups(subgroup_sizes(emoji)) == WITHHELD_SUBGROUPS


def test_the_withheld_subgroups_are_twelve_and_about_15_percent(emoji):
    sizes = subgroup_sizes(emoji)
    share = sum(sizes[name] for name in WITHHELD_SUBGROUPS) / sum(sizes.values())
    assert len(set(WITHHELD_SUBGROUPS)) == NUM_WITHHELD_SUBGROUPS
    assert 0.14 <= share <= 0.16


def test_the_halves_follow_from_the_concept_alone(emoji):
    assert all(in_selection_half(concept) for concept in emoji["selection"]["concept"])
    assert not any(in_selection_half(concept) for concept in emoji["test_seen"]["concept"])
    assert 0.45 < len(emoji["selection"]) / (len(emoji["selection"]) + len(emoji["test_seen"])) < 0.55


def test_a_withheld_concept_has_no_split_in_a_training_family():
    assert split_of("twemoji", "envelope", "mail") is None
    assert split_of("noto", "envelope", "mail") == "test_unseen"
    assert split_of("twemoji", "tiger", "animal-mammal") == "train"
