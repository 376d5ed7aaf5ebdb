# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Kept neighbors: read again, searched on from where a search was killed, by processes, refused where stale."""

import pytest
import torch

from hf_cloob import RecoMemory
from hf_cloob.retrieval.neighbor_cache import PLAN_FILE, memory_checksum
from hf_cloob.retrieval.training_neighbors import find_training_neighbors
from tests.gloo import run_in_processes
from tests.neighbor_workers import search, search_in_process
from tests.tiny_reco import random_memory, unit_rows


@pytest.fixture(autouse=True)
def fresh_state():
    """Accelerate keeps one state a process; a test's must not be the next one's."""
    yield
    from accelerate.state import PartialState

    PartialState._reset_state()


def same(first, second) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def stamps(folder) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_kept_neighbors_are_those_of_one_search_and_are_only_read_the_second_time(tmp_path):
    memory = random_memory(50)
    found = search(tmp_path)
    assert same(found, find_training_neighbors(memory, memory.image_embeds, memory.text_embeds, 3, memory.ids))
    before = stamps(tmp_path)
    assert len(before) == 7 + 1
    assert same(search(tmp_path), found) and stamps(tmp_path) == before


def test_a_killed_search_goes_on_where_it_was(tmp_path):
    found, before = search(tmp_path), stamps(tmp_path)
    (tmp_path / "000002.safetensors").unlink()
    (tmp_path / "000004.safetensors").rename(tmp_path / "000004.unfinished")
    assert same(search(tmp_path), found)
    after = stamps(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {"000002.safetensors", "000004.safetensors"}
    assert after.keys() == before.keys()


def test_two_processes_find_the_same(tmp_path):
    expected = search(tmp_path / "one")
    for found in run_in_processes(search_in_process, 2, str(tmp_path / "two")):
        assert same(found, expected)


def test_ids_are_a_pairs_own_where_the_pairs_are_the_memory_and_nowhere_else(tmp_path):
    memory, own_rows = random_memory(50), torch.arange(50)[:, None]
    memory.save_pretrained(tmp_path / "saved")
    # The same pairs, opened from somewhere else, are still the memory.
    copy = RecoMemory.from_pretrained(tmp_path / "saved")
    assert not (search(tmp_path / "copy", memory, copy, k=49).image_rows == own_rows).any()
    strangers = random_memory(50, seed=70)
    assert (search(tmp_path / "strangers", memory, strangers, k=50).image_rows == own_rows).any(dim=1).all()


def edited(**changes) -> RecoMemory:
    sides = {"image_embeds": unit_rows(50, 16, 5), "text_embeds": unit_rows(50, 16, 6)} | changes
    return RecoMemory(**sides)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"memory": random_memory(49)}, "memory was '.*' and is '.*' now"),
        ({"memory": edited(text_embeds=unit_rows(50, 16, 60)), "pairs": edited()}, "memory was"),
        ({"memory": edited(ids=range(1, 51)), "pairs": edited()}, "memory was"),
        ({"pairs": edited(image_embeds=unit_rows(50, 16, 60))}, "pairs was"),
        ({"k": 4}, "num_neighbors was 3 and is 4 now"),
        ({"near_duplicate_threshold": 0.9}, "near_duplicate_threshold was 0.95 and is 0.9 now"),
        ({"chunk_size": 9}, "chunk_size was 8 and is 9 now"),
    ],
)
def test_neighbors_of_anything_else_are_refused(changes, message, tmp_path):
    search(tmp_path)
    with pytest.raises(ValueError, match=f"holds other neighbors: {message}"):
        search(tmp_path, **changes)


def test_a_damaged_chunk_is_named(tmp_path):
    search(tmp_path)
    path = tmp_path / "000003.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"000003.safetensors is damaged: delete it"):
        search(tmp_path)
    path.write_bytes((tmp_path / "000006.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"000003.safetensors is damaged: it should hold 8 pairs"):
        search(tmp_path)


def test_pairs_of_another_encoder_are_refused(tmp_path):
    with pytest.raises(ValueError, match="its fingerprint is b, that of the training pairs is a"):
        search(tmp_path, random_memory(50, fingerprint="b"), random_memory(50, fingerprint="a"))
    assert not (tmp_path / PLAN_FILE).exists()


def test_a_chunk_holds_at_least_one_pair(tmp_path):
    with pytest.raises(ValueError, match="chunk_size must be at least 1, got 0"):
        search(tmp_path, chunk_size=0)


def test_the_checksum_is_of_the_content(tmp_path):
    memory = random_memory(50)
    memory.save_pretrained(tmp_path)
    assert (
        memory_checksum(RecoMemory.from_pretrained(tmp_path))
        == memory_checksum(memory)
        != memory_checksum(edited(ids=range(1, 51)))
    )
    ids = memory.add(unit_rows(1, 16, 8), unit_rows(1, 16, 9))
    assert memory_checksum(memory) != memory_checksum(random_memory(50))
    memory.remove(ids)
    assert memory_checksum(memory) == memory_checksum(random_memory(50))
