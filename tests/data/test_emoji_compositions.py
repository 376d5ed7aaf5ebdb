# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The compositions as drawn from the real emoji: splits, captions, ranks in the pixels, no set of concepts twice."""

import random
from collections import Counter

import numpy as np
import pytest

from hf_cloob.data.composed_pictures import ink_of
from hf_cloob.data.corpora import load_corpus
from hf_cloob.data.emoji_compositions import (
    COMPLETE_FAMILIES,
    SIZES,
    composed_concepts,
    draw_compositions,
    joined,
    load_emoji_compositions,
)
from hf_cloob.data.emoji_protocol import TEST_FAMILY, in_selection_half
from hf_cloob.data.npm_packages import default_cache_dir
from hf_cloob.data.pairs import ImageTextPairs
from hf_cloob.data.sampler import NoDuplicatesBatchSampler


@pytest.fixture(scope="module")
def compositions():
    return load_emoji_compositions()


@pytest.fixture(scope="module")
def tables(compositions):
    return {name: split.remove_columns("image").to_list() for name, split in compositions.items()}


def test_splits_have_the_sizes_that_were_asked_for(tables):
    assert {name: len(rows) for name, rows in tables.items()} == {name: a * b for name, (a, b) in SIZES.items()}


def test_training_is_in_training_styles_and_the_halves_of_noto_share_no_concept(tables):
    families = {name: {family for row in rows for family in row["families"]} for name, rows in tables.items()}
    concepts = {name: {concept for row in rows for concept in row["concepts"]} for name, rows in tables.items()}
    assert families["train"] == set(COMPLETE_FAMILIES) - {TEST_FAMILY}
    assert families["selection"] == families["probe"] == families["test"] == {TEST_FAMILY}
    assert all(in_selection_half(concept) for concept in concepts["selection"])
    assert not any(in_selection_half(concept) for concept in concepts["probe"])
    assert concepts["test"] == concepts["probe"]
    assert concepts["train"] == concepts["selection"] | concepts["test"]
    assert len(concepts["train"]) == 388


def test_no_set_of_concepts_is_in_two_splits_or_twice_in_one_but_for_the_pictures_of_a_training_set(tables):
    sets = Counter(frozenset(row["concepts"]) for rows in tables.values() for row in rows)
    training = {frozenset(row["concepts"]) for row in tables["train"]}
    assert {sets[own] for own in training} == {SIZES["train"][1]}
    assert {count for own, count in sets.items() if own not in training} == {1}


def test_pictures_hold_two_three_and_four_concepts_alike_and_none_twice(tables):
    for rows in tables.values():
        assert all(len(set(row["concepts"])) == len(row["boxes"]) == len(row["families"]) for row in rows)
        counts = Counter(len(row["concepts"]) for row in rows)
        assert set(counts) == {2, 3, 4} and max(counts.values()) - min(counts.values()) <= 3


def test_a_caption_names_all_objects_and_its_order_does_not_tell_the_rank(tables):
    places = Counter()
    for row in tables["train"]:
        head, last = row["caption"].rsplit(" and ", 1)
        spoken = [*head.split(", "), last]
        assert sorted(spoken) == sorted(row["labels"]) and row["captions"] == [row["caption"]]
        if len(spoken) == 4:
            places[spoken.index(row["labels"][0])] += 1
    # 6,000 pictures of four: each place a quarter, give or take four standard deviations.
    assert all(abs(count / 6000 - 0.25) < 0.025 for count in places.values()) and len(places) == 4


def test_every_concept_is_as_often_salient_as_not(tables):
    ranks = {rank: Counter(row["concepts"][rank] for row in tables["probe"]) for rank in (0, 1)}
    # 8,000 pictures of 196 concepts: 41 times a rank.
    assert all(15 < ranks[rank][concept] < 75 for rank in (0, 1) for concept in ranks[0])


def test_ink_and_darkness_fall_from_rank_to_rank_in_the_pictures(compositions):
    for split in ("train", "test"):
        inks = []
        for row in compositions[split].select(range(0, 1800, 6)):
            picture = np.asarray(row["image"])
            parts = [picture[top : top + side, left : left + side] for left, top, side in row["boxes"]]
            ink = [int((part.min(axis=2) < 245).sum()) for part in parts]
            assert sum(ink) == ink_of(row["image"]).sum()  # nothing lies outside of the boxes
            inks += [later / earlier for earlier, later in zip(ink, ink[1:], strict=False)]
        # Whole pixels, and pale parts that the lower contrast makes paper, blur the ratio; the order stays.
        assert np.mean(np.array(inks) < 1) > 0.99 and 0.5 < np.median(inks) < 0.7


def test_a_batch_never_holds_two_pictures_of_one_caption(compositions):
    pairs = ImageTextPairs(compositions["train"], lambda image, rng: None)
    sampler = NoDuplicatesBatchSampler(len(pairs), pairs.duplicate_keys, 128, 100)
    captions = compositions["train"]["caption"][:]
    for batch in sampler:
        assert len({captions[index] for _, index in batch}) == 128


@pytest.fixture(scope="module")
def parts(emoji):
    return composed_concepts(emoji)


def test_labels_read_in_one_way_only(parts):
    drawings, labels = parts
    assert len(labels) == len(set(labels.values())) == len(drawings)
    assert not any("," in label or " and " in label for label in labels.values())


def test_drawing_follows_the_seed_and_leaves_out_taken_sets(parts):
    drawings, labels = parts
    few = {concept: drawings[concept] for concept in list(drawings)[:4]}

    def drawn(seed: int, taken=()):
        return draw_compositions(few, labels, ["noto"], 3, 1, 64, set(taken), random.Random(seed))

    assert drawn(0) == drawn(0) != drawn(1)
    pairs = [frozenset(pair) for pair in (list(few)[:2], list(few)[1:3], list(few)[2:])]
    for seed in range(5):
        assert frozenset(drawn(seed, pairs)[0].concepts) not in pairs


def test_too_few_concepts_are_refused(parts):
    drawings, labels = parts
    with pytest.raises(ValueError, match="at least 4 concepts, got 3"):
        draw_compositions(dict(list(drawings.items())[:3]), labels, ["noto"], 1, 1, 64, set(), random.Random(0))


def test_names_are_joined_as_english_does():
    assert joined(["a", "b"]) == "a and b"
    assert joined(["a", "b", "c d"]) == "a, b and c d"


def test_the_corpus_is_found_by_its_name(compositions):
    assert load_corpus("emoji_compositions", "test")._fingerprint == compositions["test"]._fingerprint


def test_a_second_load_reads_what_the_first_one_built(compositions):
    (folder,) = (default_cache_dir() / "datasets").glob("emoji_compositions-64px-*")
    before = (folder / "test" / "state.json").stat().st_mtime_ns
    load_emoji_compositions()
    assert (folder / "test" / "state.json").stat().st_mtime_ns == before
