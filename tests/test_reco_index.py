# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What a memory does with what an index proposes: scores of its own, and no index that does not fit."""

import pytest
import torch
from tiny_reco import random_memory, unit_rows

from hf_cloob import RecoMemory


class ListIndex:
    """The smallest index: keys and ids in order, compared one and all."""

    def __init__(self, keys: torch.Tensor, ids: torch.Tensor):
        self.rows, self.held = keys.float(), ids.clone()

    @property
    def projection_dim(self) -> int:
        return self.rows.shape[1]

    def __len__(self) -> int:
        return len(self.held)

    def has(self, ids: torch.Tensor) -> torch.Tensor:
        return torch.isin(ids, self.held)

    def keys(self, ids: torch.Tensor) -> torch.Tensor:
        return self.rows[[self.held.tolist().index(number) for number in ids.tolist()]]

    def search(self, queries: torch.Tensor, k: int) -> torch.Tensor:
        found = (queries @ self.rows.T).topk(min(k, len(self.held))).indices
        return torch.nn.functional.pad(self.held[found], (0, k - found.shape[1]), value=-1)

    def add(self, keys: torch.Tensor, ids: torch.Tensor) -> None:
        self.rows, self.held = torch.cat([self.rows, keys.float()]), torch.cat([self.held, ids])

    def remove(self, ids: torch.Tensor) -> None:
        kept = ~torch.isin(self.held, ids)
        self.rows, self.held = self.rows[kept], self.held[kept]


class Proposing(ListIndex):
    """Proposes what it is told to."""

    proposed: list[int]

    def search(self, queries: torch.Tensor, k: int) -> torch.Tensor:
        return torch.tensor([self.proposed] * len(queries))


class Failing(ListIndex):
    """Cannot be edited, as when a server does not answer."""

    def add(self, keys: torch.Tensor, ids: torch.Tensor) -> None:
        raise ConnectionError("no answer")

    def remove(self, ids: torch.Tensor) -> None:
        raise ConnectionError("no answer")


def indexed(memory: RecoMemory, image_class=ListIndex, text_class=ListIndex) -> RecoMemory:
    """The memory, searched through indexes of both sides."""
    memory.set_index(image_class(memory.image_embeds, memory.ids), text_class(memory.text_embeds, memory.ids))
    return memory


def assert_same_as_exact(memory: RecoMemory, queries: torch.Tensor, k: int, exclude_ids=None) -> None:
    for retrieve in (memory.retrieve_for_images, memory.retrieve_for_texts):
        for first, second in zip(
            retrieve(queries, k, exclude_ids), retrieve(queries, k, exclude_ids, exact=True), strict=True
        ):
            assert torch.equal(first, second)


@pytest.mark.parametrize(("num_queries", "k"), [(1, 1), (1, 10), (7, 3), (40, 100), (3, 400), (5, 0), (0, 4)])
def test_scores_and_values_are_those_of_the_exact_search_bit_for_bit(num_queries, k):
    memory = indexed(random_memory(300, 24, ids=torch.randperm(300) + 7))
    assert_same_as_exact(memory, unit_rows(num_queries, 24), k)
    assert_same_as_exact(memory, unit_rows(num_queries, 24).double(), k)


def test_excluded_entries_are_not_found_and_k_remain():
    memory = indexed(random_memory(100))
    queries, own = memory.image_embeds[:50].float(), torch.arange(50)
    assert torch.equal(memory.retrieve_for_images(queries, 4).ids[:, 0], own)
    found = memory.retrieve_for_images(queries, 4, own)
    assert found.mask.all() and not (found.ids == own[:, None]).any()
    assert_same_as_exact(memory, queries, 4, torch.stack([own, own + 50, torch.full_like(own, -1)], dim=1))


def test_an_index_of_one_side_leaves_the_other_exact():
    memory = random_memory(50)
    proposing = Proposing(memory.text_embeds, memory.ids)
    memory.set_index(text_index=ListIndex(memory.text_embeds, memory.ids))
    memory._indexes["text_embeds"], proposing.proposed = proposing, [3, 9]
    queries = unit_rows(2, 16)
    assert torch.equal(
        memory.retrieve_for_images(queries, 2).ids, memory.retrieve_for_images(queries, 2, exact=True).ids
    )
    assert sorted(memory.retrieve_for_texts(queries, 2).ids[0].tolist()) == [3, 9]
    memory.set_index()
    assert_same_as_exact(memory, queries, 5)


def test_what_is_proposed_twice_or_not_at_all_is_no_neighbor():
    memory = random_memory(50)
    index = Proposing(memory.image_embeds, memory.ids)
    index.proposed = memory.ids.tolist()
    memory.set_index(index)
    index.proposed = [4, -1, 4, 8, 4, -1]
    found = memory.retrieve_for_images(memory.image_embeds[8:9].float(), 3)
    assert found.ids.tolist() == [[8, 4, -1]] and found.mask.tolist() == [[True, True, False]]
    assert not found.embeds[0, 2].any() and found.scores[0, 2] == float("-inf")


def test_edits_of_the_memory_reach_its_indexes():
    memory, queries = indexed(random_memory(60)), unit_rows(9, 16)
    before = memory.retrieve_for_images(queries, 60)
    ids = memory.add(queries[:3], queries[3:6], captions=["a", "b", "c"])
    assert torch.equal(memory.retrieve_for_images(queries[:3], 1).ids.flatten(), ids)
    assert torch.equal(memory.retrieve_for_texts(queries[3:6], 1).ids.flatten(), ids)
    memory.remove(ids)
    assert all(
        torch.equal(first, second)
        for first, second in zip(memory.retrieve_for_images(queries, 60), before, strict=True)
    )
    memory.merge(random_memory(20, seed=30, ids=torch.arange(20) + 500))
    memory.remove([0, 505])
    assert_same_as_exact(memory, queries, 78)
    for side in ("image_embeds", "text_embeds"):
        assert torch.equal(memory._indexes[side].held, memory.ids)


def test_setting_an_index_changes_the_version_because_what_is_found_may_change():
    memory = random_memory(5)
    versions = [memory.version, indexed(memory).version]
    memory.set_index()
    assert len({*versions, memory.version}) == 3


def test_an_edit_that_the_memory_refuses_does_not_reach_the_indexes():
    memory = indexed(random_memory(10))
    for edit in (
        lambda: memory.add(unit_rows(2, 16), unit_rows(2, 16), ids=[50, 3]),
        lambda: memory.remove([1, 70]),
        lambda: memory.remove(torch.arange(10)),
        lambda: memory.merge(random_memory(3)),
    ):
        with pytest.raises(ValueError):
            edit()
        assert memory._indexes["image_embeds"].held.tolist() == list(range(10))


def test_when_an_index_cannot_be_edited_no_wrong_or_missing_neighbor_goes_unnoticed():
    memory = indexed(random_memory(40), text_class=Failing)
    query = unit_rows(1, 16)
    with pytest.raises(ConnectionError):
        memory.add(query, query)
    assert len(memory) == 40
    with pytest.raises(ValueError, match=r"index for image_embeds proposes entries .* such as \[40\]"):
        memory.retrieve_for_images(query, 3)

    memory = indexed(random_memory(40), image_class=Failing)
    query = memory.text_embeds[7:8].float()
    with pytest.raises(ConnectionError):
        memory.remove([7])
    with pytest.raises(ValueError, match=r"index for text_embeds proposes entries .* such as \[7\]"):
        memory.retrieve_for_texts(query, 3)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (random_memory(100, 8), "image_embeds holds keys of 8 dimensions, those of the memory have 16"),
        (random_memory(98), "image_embeds holds 98 entries, the memory 100:"),
        (random_memory(102), "image_embeds holds 102 entries, the memory 100:"),
        (random_memory(100, ids=torch.arange(100) + 2), r"does not hold 2 of the memory's 100 ids, .* \[0, 1\]"),
        (random_memory(100, seed=77), "other embeddings under the memory's ids, for 100 of 100 entries"),
    ],
)
def test_an_index_of_another_memory_is_refused(other, message):
    memory = random_memory(100)
    with pytest.raises(ValueError, match=message):
        memory.set_index(ListIndex(other.image_embeds, other.ids))
    assert_same_as_exact(memory, unit_rows(3, 16), 5)


def test_images_are_not_searched_by_an_index_of_texts():
    memory = random_memory(1000)
    with pytest.raises(ValueError, match="index for image_embeds holds other embeddings"):
        memory.set_index(ListIndex(memory.text_embeds, memory.ids))
    with pytest.raises(ValueError, match="index for text_embeds holds other embeddings"):
        memory.set_index(text_index=ListIndex(memory.image_embeds, memory.ids))


def test_entries_with_the_same_key_do_not_make_an_index_a_wrong_one():
    rows = unit_rows(2, 16)[torch.arange(400) % 2]
    indexed(RecoMemory(rows, rows.flip(0)))


def test_a_memory_that_was_edited_takes_an_index_of_what_is_left():
    memory = random_memory(90)
    memory.remove([0, 33])
    memory.add(unit_rows(1, 16), unit_rows(1, 16, 1), ids=[33])
    assert_same_as_exact(indexed(memory), unit_rows(4, 16), 20)


def test_a_damaged_key_is_an_error_and_not_a_neighbor():
    memory = indexed(random_memory(50))
    memory.image_embeds[7, 3] = float("nan")
    with pytest.raises(ValueError, match="damaged: the key in row 7 "):
        memory.retrieve_for_images(unit_rows(2, 16), 50)
