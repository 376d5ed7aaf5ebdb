# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Near-duplicates: all of them, for each query, and none of the rest."""

import pytest
import torch
from torch.nn.functional import normalize

from hf_cloob import RecoMemory
from hf_cloob.retrieval.faiss_index import ivf_index
from hf_cloob.retrieval.near_duplicates import near_duplicates, remove_near_duplicates
from tests.tiny_reco import random_memory, unit_rows


def memory_with_copies(queries: torch.Tensor, copies: list[int]) -> RecoMemory:
    """A thousand strangers, and some entries beside each query."""
    near = torch.cat([queries[row : row + 1].expand(count, -1) for row, count in enumerate(copies)])
    near = normalize(near + 0.1 * unit_rows(len(near), 32, 8), dim=1)
    images = torch.cat([unit_rows(1000, 32, 9), near])
    return RecoMemory(images, unit_rows(len(images), 32, 10), ids=torch.arange(len(images)) * 2)


def by_loops(memory: RecoMemory, queries: torch.Tensor, threshold: float) -> list[set[int]]:
    cosines = queries.double() @ memory.image_embeds.double().T
    return [set(memory.ids[row >= threshold].tolist()) for row in cosines]


@pytest.mark.parametrize("copies", [[0, 1, 3], [2, 0, 40]])
def test_every_entry_above_the_threshold_is_found_for_each_query(copies):
    queries = unit_rows(3, 32, 1)
    memory = memory_with_copies(queries, copies)
    ids = near_duplicates(memory, queries, 0.9, batch_size=2)
    assert ids.shape == (3, max(copies))
    assert [{number for number in row if number >= 0} for row in ids.tolist()] == by_loops(memory, queries, 0.9)
    assert [len(found) for found in by_loops(memory, queries, 0.9)] == copies


def test_an_approximate_index_of_the_memory_hides_none():
    queries = unit_rows(3, 32, 1)
    memory = memory_with_copies(queries, [2, 0, 40])
    memory.set_index(ivf_index(memory.image_embeds, memory.ids, num_probes=1))
    expected = by_loops(memory, queries, 0.4)
    by_index = memory.retrieve_for_images(queries, len(memory))
    assert ((by_index.scores >= 0.4).sum(dim=1) < torch.tensor([len(ids) for ids in expected])).any()
    ids = near_duplicates(memory, queries, 0.4)
    assert [{number for number in row if number >= 0} for row in ids.tolist()] == expected


def test_the_result_excludes_what_it_found():
    queries = unit_rows(3, 32, 1)
    memory = memory_with_copies(queries, [2, 1, 4])
    neighbors = memory.retrieve_for_images(queries, 5, near_duplicates(memory, queries, 0.9))
    assert neighbors.mask.all() and neighbors.scores.max() < 0.9


def test_removing_leaves_a_memory_without_the_test_pictures():
    queries = unit_rows(3, 32, 1)
    memory = memory_with_copies(queries, [2, 1, 0])
    expected = sorted(set().union(*by_loops(memory, queries, 0.9)))
    assert remove_near_duplicates(memory, queries, 0.9).tolist() == expected and len(memory) == 1000
    assert remove_near_duplicates(memory, queries, 0.9).tolist() == []


def test_a_whole_memory_may_be_near():
    memory = random_memory(5)
    assert near_duplicates(memory, memory.image_embeds.float(), -0.999).shape == (5, 5)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="threshold is a cosine.*got 1.5"):
        near_duplicates(random_memory(), unit_rows(2, 16), 1.5)
    with pytest.raises(ValueError, match="image_embeds is empty"):
        near_duplicates(random_memory(), unit_rows(0, 16))
