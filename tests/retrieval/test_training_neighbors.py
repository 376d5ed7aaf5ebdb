# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Training's neighbors against slow loops: the nearest ones, and never what would give the answer away."""

import pytest
import torch
from torch.nn.functional import normalize

from hf_cloob import RecoMemory
from hf_cloob.retrieval import training_neighbors
from hf_cloob.retrieval.training_neighbors import find_training_neighbors
from tests.reference_reco import nearest
from tests.tiny_reco import random_memory, unit_rows

DIM = 16
THRESHOLD = 0.9


def crowded_memory(strangers: int = 50, copies: int = 30) -> RecoMemory:
    """Strangers, and one picture drawn thirty times a little differently, under captions without a likeness."""
    near = normalize(unit_rows(1, DIM, 4) + 0.05 * unit_rows(copies, DIM, 5), dim=1)
    images = torch.cat([unit_rows(strangers, DIM, 1), near])
    return RecoMemory(images, unit_rows(len(images), DIM, 2), ids=torch.arange(len(images)) * 3 + 7)


def by_loops(memory: RecoMemory, row: int, side: str, k: int) -> list[int]:
    images, keys = memory.image_embeds.double(), getattr(memory, f"{side}_embeds").double()
    near = {other for other in range(len(images)) if images[row] @ images[other] >= THRESHOLD}
    return nearest(keys[row], keys, k, excluded=tuple(near | {row}))


def find(memory: RecoMemory, k: int, **arguments):
    arguments = {"own_ids": memory.ids, "near_duplicate_threshold": THRESHOLD} | arguments
    return find_training_neighbors(memory, memory.image_embeds, memory.text_embeds, k, **arguments)


def test_both_sides_find_the_nearest_rows_that_loops_find():
    memory = crowded_memory()
    found = find(memory, 5)
    for side, rows in (("image", found.image_rows), ("text", found.text_rows)):
        assert rows.tolist() == [by_loops(memory, row, side, 5) for row in range(len(memory))]


def test_scores_are_the_cosines_by_which_the_rows_were_found_best_first():
    memory = crowded_memory()
    found = find(memory, 5)
    for side, rows, scores in (
        ("image", found.image_rows, found.image_scores),
        ("text", found.text_rows, found.text_scores),
    ):
        embeds = getattr(memory, f"{side}_embeds").float()
        expected = torch.einsum("nd,nkd->nk", embeds, embeds[rows])
        torch.testing.assert_close(scores, expected, rtol=0, atol=1e-6)
        assert (scores.diff(dim=1) <= 0).all() and scores.dtype == torch.float32 and rows.dtype == torch.int64


def test_neither_side_finds_a_pairs_own_entry_or_another_drawing_of_its_picture():
    memory = crowded_memory()
    found = find(memory, 20)
    images = memory.image_embeds.float()
    # The thirty drawings are more than the search fetches at first, and still all the room is filled.
    assert training_neighbors.SURPLUS < 29
    for rows in (found.image_rows, found.text_rows):
        assert (rows >= 0).all()
        assert not (rows == torch.arange(len(memory))[:, None]).any()
        assert torch.einsum("nd,nkd->nk", images, images[rows]).max() < THRESHOLD
    assert found.near_duplicates.tolist() == [0] * 50 + [29] * 30


def test_pairs_that_are_not_in_the_memory_find_entries_of_any_id():
    memory = random_memory(40, DIM)
    strangers = random_memory(40, DIM, seed=90)
    found = find_training_neighbors(memory, strangers.image_embeds, strangers.text_embeds, 40)
    assert found.image_rows.sort(dim=1).values.tolist() == [list(range(40))] * 40
    own = find_training_neighbors(memory, strangers.image_embeds, strangers.text_embeds, 40, own_ids=strangers.ids)
    assert not (own.text_rows == torch.arange(40)[:, None]).any() and (own.text_rows[:, -1] == -1).all()


def test_where_too_few_entries_are_left_the_rest_is_missing():
    found = find(crowded_memory(strangers=2, copies=6), 4)
    assert (found.image_rows >= 0).sum(dim=1).tolist() == [4, 4] + [2] * 6
    missing = found.image_rows < 0
    assert (found.image_scores[missing] == float("-inf")).all() and torch.isfinite(found.image_scores[~missing]).all()
    assert (found.text_rows >= 0).sum(dim=1).tolist() == [4, 4] + [2] * 6


def test_a_search_that_only_meets_near_duplicates_ends(monkeypatch):
    monkeypatch.setattr(training_neighbors, "MAX_FETCHED", 12)
    found = find(crowded_memory(), 4)
    assert (found.image_rows[:50] >= 0).all() and (found.image_rows[50:] == -1).all()


def test_no_neighbors_are_found_where_none_are_wanted():
    assert find(random_memory(10, DIM), 0).image_rows.shape == (10, 0)


def test_entries_that_were_removed_neither_count_nor_are_found():
    memory = crowded_memory()
    memory.remove(memory.ids[:10])
    found = find(memory, 5)
    for side, rows in (("image", found.image_rows), ("text", found.text_rows)):
        assert rows.tolist() == [by_loops(memory, row, side, 5) for row in range(len(memory))]


def test_mistakes_are_named():
    memory = random_memory(10, DIM)
    with pytest.raises(ValueError, match="near_duplicate_threshold is a cosine.*got 1.5"):
        find(memory, 2, near_duplicate_threshold=1.5)
    with pytest.raises(ValueError, match=r"must have equal lengths, got \(10, 10, 9\)"):
        find(memory, 2, own_ids=memory.ids[1:])
