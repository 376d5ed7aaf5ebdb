# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Every index against the memory's exact search, which is the truth, on embeddings in clusters as real ones are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import torch
from tiny_reco import unit_rows
from torch.nn.functional import normalize

from hf_cloob import RecoMemory
from hf_cloob.retrieval.faiss_index import FaissIndex, flat_index, hnsw_index, ivf_index
from hf_cloob.retrieval.milvus_index import MilvusIndex

FAISS = {"flat": flat_index, "hnsw": hnsw_index, "ivf": ivf_index}
SIZE, WIDTH, CLUSTERS = 4000, 48, 200


@dataclass
class Indexes:
    """Builds indexes of one kind in a folder, and opens what was saved there."""

    kind: Literal["flat", "hnsw", "ivf", "milvus"]
    folder: Path

    def build(self, keys: torch.Tensor, ids: torch.Tensor, name: str):
        if self.kind == "milvus":
            return MilvusIndex.build(keys, ids, name, uri=str(self.folder / "index.db"))
        return FAISS[self.kind](keys, ids)

    def of(self, memory: RecoMemory, name: str = "side"):
        """Indexes of a memory's images and of its texts."""
        sides = ("images", memory.image_embeds), ("texts", memory.text_embeds)
        return [self.build(keys, memory.ids, f"{name}_{side}") for side, keys in sides]

    def saved_and_loaded(self, index, name: str):
        if self.kind == "milvus":
            index.close()
            return MilvusIndex(name, uri=str(self.folder / "index.db"))
        index.save(self.folder / name)
        return FaissIndex.load(self.folder / name)

    @property
    def is_exact(self) -> bool:
        return self.kind == "flat"


@pytest.fixture(params=["flat", "hnsw", "ivf", "milvus"])
def indexes(request, tmp_path):
    yield Indexes(request.param, tmp_path)
    if request.param == "milvus":
        from milvus_lite import server_manager_instance

        server_manager_instance.release_all()


def clustered(rows: int, seed: int) -> torch.Tensor:
    """Unit vectors around common centers, some of them near each other, in fewer directions than dimensions."""
    centers = normalize(unit_rows(CLUSTERS, 12, 1) + 0.5 * unit_rows(CLUSTERS // 10, 12, 2).repeat(10, 1), dim=1)
    near = centers[torch.arange(rows) % CLUSTERS] + 0.4 * unit_rows(rows, 12, seed)
    return normalize(near @ unit_rows(WIDTH, 12, 3).T + 0.1 * unit_rows(rows, WIDTH, seed + 1), dim=1)


def clustered_memory(size: int = SIZE) -> RecoMemory:
    return RecoMemory(clustered(size, 10), clustered(size, 20), ids=torch.randperm(size) + 5)


def recall(memory: RecoMemory, queries: torch.Tensor, k: int = 10, exclude_ids=None) -> float:
    """Share of the exact neighbors that are found; scores and values of what is found must be the memory's own."""
    shares = []
    for retrieve in (memory.retrieve_for_images, memory.retrieve_for_texts):
        found, expected = retrieve(queries, k, exclude_ids), retrieve(queries, k, exclude_ids, exact=True)
        assert found.ids.shape == expected.ids.shape
        same = (found.ids.unsqueeze(2) == expected.ids.unsqueeze(1)) & expected.mask.unsqueeze(1)
        is_true, place = same.any(dim=2), same.int().argmax(dim=2)
        assert torch.equal(found.scores[is_true], expected.scores.gather(1, place)[is_true])
        places = place.unsqueeze(2).expand_as(expected.embeds)
        assert torch.equal(found.embeds[is_true], expected.embeds.gather(1, places)[is_true])
        assert (found.scores.diff(dim=1) <= 0).all()
        shares.append(is_true.sum() / expected.mask.sum())
    return min(shares).item()


def test_neighbors_are_those_of_the_exact_search(indexes):
    memory, queries = clustered_memory(), clustered(300, 40)
    memory.set_index(*indexes.of(memory))
    found = recall(memory, queries)
    assert found == 1 if indexes.is_exact else found >= 0.98
    assert recall(memory, queries[:1], k=1) == 1


def test_excluded_entries_are_not_found_and_k_remain(indexes):
    memory = clustered_memory(1000)
    memory.set_index(*indexes.of(memory))
    queries, own = memory.image_embeds[:100].float(), torch.stack([memory.ids[:100], memory.ids[100:200]], dim=1)
    assert torch.equal(memory.retrieve_for_images(queries, 5).ids[:, 0], own[:, 0])
    neighbors = memory.retrieve_for_images(queries, 5, own)
    assert neighbors.mask.all() and not (neighbors.ids.unsqueeze(2) == own.unsqueeze(1)).any()
    assert recall(memory, queries, 5, own) >= 0.98


def test_fewer_entries_than_neighbors_are_all_used_with_a_mask(indexes):
    memory = clustered_memory(7)
    memory.set_index(*indexes.of(memory))
    neighbors = memory.retrieve_for_images(clustered(3, 40), 9)
    assert neighbors.mask.tolist() == [[True] * 7 + [False] * 2] * 3
    assert neighbors.ids[:, :7].sort().values.tolist() == [memory.ids.sort().values.tolist()] * 3


def test_added_entries_are_found_and_removed_ones_are_not(indexes):
    memory, queries = clustered_memory(1000), clustered(100, 40)
    memory.set_index(*indexes.of(memory))
    ids = memory.add(queries[:20], queries[20:40])
    assert torch.equal(memory.retrieve_for_images(queries[:20], 1).ids.flatten(), ids)
    assert torch.equal(memory.retrieve_for_texts(queries[20:40], 1).ids.flatten(), ids)
    assert recall(memory, queries) >= 0.98
    nearest = memory.retrieve_for_images(queries, 3).ids.flatten().unique()
    memory.remove(nearest)
    for neighbors in (memory.retrieve_for_images(queries, 10), memory.retrieve_for_texts(queries, 10)):
        assert neighbors.mask.all() and not torch.isin(neighbors.ids, nearest).any()
    assert recall(memory, queries) >= 0.98


def test_removing_what_was_added_restores_the_former_neighbors(indexes):
    memory, queries = clustered_memory(1000), clustered(50, 40)
    memory.set_index(*indexes.of(memory))
    before = memory.retrieve_for_images(queries, 5)
    memory.remove(memory.add(queries[:1], queries[:1]))
    after = memory.retrieve_for_images(queries, 5)
    assert all(torch.equal(first, second) for first, second in zip(before, after, strict=True))


def test_an_id_may_be_used_again_for_another_entry(indexes):
    memory, rows = clustered_memory(200), unit_rows(2, WIDTH, 90)
    memory.set_index(*indexes.of(memory))
    number = int(memory.ids[17])
    former = memory.image_embeds[17:18].float()
    memory.remove(number)
    memory.add(rows[:1], rows[1:], ids=[number])
    assert memory.retrieve_for_images(rows[:1], 1).ids.item() == number
    assert memory.retrieve_for_texts(rows[1:], 1).ids.item() == number
    assert memory.retrieve_for_images(former, 1).ids.item() != number


def test_a_saved_index_finds_the_same_with_its_edits(indexes):
    memory, queries = clustered_memory(1000), clustered(100, 40)
    index = indexes.build(memory.image_embeds, memory.ids, "images")
    memory.set_index(index)
    memory.add(queries[:20], queries[20:40])
    memory.remove(memory.retrieve_for_images(queries[40:60], 1).ids.flatten().unique())
    before = memory.retrieve_for_images(queries, 10)
    loaded = indexes.saved_and_loaded(index, "images")
    assert loaded.projection_dim == WIDTH and len(loaded) == len(memory) and loaded.has(memory.ids).all()
    memory.set_index(loaded)
    after = memory.retrieve_for_images(queries, 10)
    found = (after.ids == before.ids).float().mean()
    # Milvus builds its graph anew when it is opened.
    assert found >= 0.98 if indexes.kind == "milvus" else found == 1
    memory.remove(memory.add(queries[:1], queries[:1]))


def test_a_saved_index_is_refused_by_a_memory_that_was_edited_without_it(indexes):
    memory = clustered_memory(300)
    loaded = indexes.saved_and_loaded(indexes.build(memory.image_embeds, memory.ids, "images"), "images")
    memory.remove(memory.ids[0])
    with pytest.raises(ValueError, match="holds 300 entries, the memory 299"):
        memory.set_index(loaded)
    memory.add(unit_rows(1, WIDTH), unit_rows(1, WIDTH))
    with pytest.raises(ValueError, match="does not hold 1 of the memory's 300 ids"):
        memory.set_index(loaded)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (RecoMemory(unit_rows(300, 8), unit_rows(300, 8)), f"holds keys of 8 dimensions, .* memory have {WIDTH}"),
        (RecoMemory(unit_rows(299, WIDTH), unit_rows(299, WIDTH)), "holds 299 entries, the memory 300"),
        (RecoMemory(unit_rows(300, WIDTH), unit_rows(300, WIDTH), torch.arange(300) + 2), r"not hold 2 .* \[0, 1\]"),
        (RecoMemory(unit_rows(300, WIDTH, 60), unit_rows(300, WIDTH)), "holds other embeddings under the memory's"),
    ],
    ids=["another width", "fewer entries", "other ids", "other embeddings"],
)
def test_an_index_of_another_memory_is_refused(indexes, other, message):
    memory = RecoMemory(clustered(300, 10), clustered(300, 20))
    with pytest.raises(ValueError, match=message):
        memory.set_index(indexes.build(other.image_embeds, other.ids, "other"))
    assert recall(memory, clustered(3, 40)) == 1


def test_images_and_texts_are_not_mixed_up(indexes):
    memory = clustered_memory(1000)
    of_images, of_texts = indexes.of(memory)
    with pytest.raises(ValueError, match="index for image_embeds holds other embeddings"):
        memory.set_index(of_texts, of_images)
    memory.set_index(of_images, of_texts)
