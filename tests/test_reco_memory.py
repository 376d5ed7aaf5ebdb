# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""RecoMemory: looking up, excluding, editing, saving, and what is refused."""

import os
import shutil
import sys

import psutil
import pytest
import torch
from reference import rows as float64_rows
from reference_reco import nearest
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_reco import random_memory, unit_rows

from hf_cloob import RecoMemory, RecoNeighbors, reco_memory
from hf_cloob.reco_captions import ENTRIES_FILE
from hf_cloob.reco_memory_file import MEMORY_FILE


def equal(first: RecoNeighbors, second: RecoNeighbors) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def found_by(memory: RecoMemory, k: int = 5, **kwargs) -> list[RecoNeighbors]:
    queries = unit_rows(6, memory.projection_dim, 99)
    return [memory.retrieve_for_images(queries, k, **kwargs), memory.retrieve_for_texts(queries, k, **kwargs)]


def files_of(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


# -- looking up --


@pytest.mark.parametrize("side", ["image", "text"])
def test_queries_search_their_own_modality_and_get_the_values_of_the_other(side):
    memory, queries = random_memory(30, ids=torch.randperm(30) + 100), unit_rows(4, 16)
    keys, values = (memory.image_embeds, memory.text_embeds)[:: 1 if side == "image" else -1]
    retrieve = memory.retrieve_for_images if side == "image" else memory.retrieve_for_texts
    neighbors = retrieve(queries, 6)
    for row, query in enumerate(float64_rows(queries)):
        expected = nearest(query, float64_rows(keys), 6)
        assert neighbors.ids[row].tolist() == memory.ids[expected].tolist()
        assert torch.equal(neighbors.embeds[row], values[expected].float())
        cosines = torch.stack([query @ keys[key].double() for key in expected])
        torch.testing.assert_close(neighbors.scores[row].double(), cosines, rtol=0, atol=2e-7)
    assert neighbors.mask.all() and neighbors.embeds.dtype == neighbors.scores.dtype == torch.float32


def test_an_entry_is_found_by_its_own_image_and_its_own_text():
    memory = random_memory()
    for retrieve, embeds in (
        (memory.retrieve_for_images, memory.image_embeds),
        (memory.retrieve_for_texts, memory.text_embeds),
    ):
        assert torch.equal(retrieve(embeds.float(), 1).ids.flatten(), memory.ids)


@pytest.mark.parametrize("exclude_ids", [torch.arange(6), torch.stack([torch.arange(6), torch.arange(6) + 10], 1)])
def test_excluded_entries_are_not_found_and_k_remain(exclude_ids):
    memory, queries = random_memory(20), random_memory(20).image_embeds[:6].float()
    assert torch.equal(memory.retrieve_for_images(queries, 4).ids[:, 0], torch.arange(6))
    neighbors = memory.retrieve_for_images(queries, 4, exclude_ids)
    assert neighbors.mask.all() and neighbors.ids.shape == (6, 4)
    for row, query in enumerate(float64_rows(queries)):
        excluded = tuple(exclude_ids.reshape(6, -1)[row].tolist())
        assert neighbors.ids[row].tolist() == nearest(query, float64_rows(memory.image_embeds), 4, excluded)


def test_nothing_to_exclude_is_written_as_minus_one():
    memory = random_memory(20)
    queries = memory.text_embeds[:3].float()
    everything = memory.retrieve_for_texts(queries, 4)
    assert equal(memory.retrieve_for_texts(queries, 4, torch.full((3, 2), -1)), everything)
    mixed = memory.retrieve_for_texts(queries, 4, torch.tensor([[-1, 0], [-1, -1], [2, -1]]))
    assert mixed.ids[1].tolist() == everything.ids[1].tolist() and mixed.ids[0, 0] != 0 and mixed.ids[2, 0] != 2


def test_fewer_entries_than_neighbors_are_all_used_with_a_mask():
    memory = random_memory(3)
    for neighbors in found_by(memory, 5):
        assert neighbors.mask.tolist() == [[True] * 3 + [False] * 2] * 6
        assert not neighbors.embeds[~neighbors.mask].any() and (neighbors.ids[:, 3:] == -1).all()
        assert (neighbors.scores[:, 3:] == float("-inf")).all()
    excluded = memory.retrieve_for_images(unit_rows(2, 16), 5, torch.tensor([[0, 1], [2, -1]]))
    assert excluded.mask.sum(dim=1).tolist() == [1, 2] and sorted(excluded.ids[1].tolist()) == [-1, -1, -1, 0, 1]
    everything = memory.retrieve_for_images(unit_rows(1, 16), 2, torch.tensor([[0, 1, 2]]))
    assert not everything.mask.any() and not everything.embeds.any()


def test_half_precision_queries_are_scored_in_float32_and_float64_ones_in_float64():
    memory, queries = random_memory(), unit_rows(4, 16)
    half = memory.retrieve_for_images(queries.half(), 3)
    assert half.scores.dtype == half.embeds.dtype == torch.float32
    assert equal(half, memory.retrieve_for_images(queries.half().float(), 3))
    assert memory.retrieve_for_images(queries.double(), 3).embeds.dtype == torch.float64


def test_captions_have_the_shape_of_their_ids():
    memory = random_memory(6, ids=torch.arange(6) * 10)
    assert memory.captions_of(torch.tensor([[50, 0], [-1, 20]])) == [["caption 5", "caption 0"], [None, "caption 2"]]
    assert memory.captions_of([30]) == ["caption 3"]
    with pytest.raises(ValueError, match=r"1 of 1 ids are not in the memory, the first are \[7\]"):
        memory.captions_of([7])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((unit_rows(3, 8), 2), r"must have the shape \(n, 16\) of this memory, got \(3, 8\)"),
        ((unit_rows(1, 16)[0], 2), r"got \(16,\)"),
        ((unit_rows(3, 16), -1), "k must be at least 0, got -1"),
        ((unit_rows(3, 16) * float("nan"), 2), "image_embeds holds NaN"),
        ((unit_rows(3, 16), 2, torch.tensor([1, 2])), r"exclude_ids must have the shape \(3,\) or \(3, e\)"),
        ((unit_rows(3, 16), 2, torch.tensor([1, 2, 40])), r"1 of 3 ids are not in the memory, the first are \[40\]"),
    ],
)
def test_a_search_that_cannot_be_right_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        random_memory().retrieve_for_images(*arguments)


# -- edits --


def test_an_added_entry_is_found_and_removing_it_restores_everything_bit_for_bit():
    memory, queries = random_memory(300), unit_rows(6, 16, 99)
    before = found_by(memory)
    ids = memory.add(queries[:2], -queries[:2], captions=["one", "two"])
    assert ids.tolist() == [300, 301] and len(memory) == 302
    neighbors = memory.retrieve_for_images(queries[:2], 3)
    assert neighbors.ids[:, 0].tolist() == [300, 301] and memory.captions_of(ids) == ["one", "two"]
    torch.testing.assert_close(neighbors.embeds[:, 0], -queries[:2], rtol=0, atol=1e-3)
    memory.remove(ids)
    assert len(memory) == 300 and all(equal(a, b) for a, b in zip(found_by(memory), before, strict=True))


def test_removed_entries_are_not_found_and_others_keep_their_scores():
    memory = random_memory(40)
    before = memory.retrieve_for_images(unit_rows(6, 16, 99), 40)
    memory.remove(torch.tensor([3, 30]))
    memory.remove(7)
    after = memory.retrieve_for_images(unit_rows(6, 16, 99), 40)
    kept = ~torch.isin(before.ids, torch.tensor([3, 30, 7]))
    assert torch.equal(after.ids[:, :37], before.ids[kept].view(6, 37))
    assert torch.equal(after.scores[:, :37], before.scores[kept].view(6, 37))
    assert not after.mask[:, 37:].any() and memory.ids.tolist() == [n for n in range(40) if n not in (3, 7, 30)]


def test_a_removed_id_may_be_used_again():
    memory = random_memory(10)
    memory.remove([4])
    memory.add(unit_rows(1, 16, 50), unit_rows(1, 16, 51), ids=[4], captions=["new"])
    assert memory.captions_of([4, 5]) == ["new", "caption 5"] and memory.ids.tolist()[-1] == 4
    assert memory.retrieve_for_images(unit_rows(1, 16, 50), 1).ids.item() == 4


def test_merged_memories_find_as_one():
    whole = random_memory(30)
    parts = [
        RecoMemory(
            whole.image_embeds[rows], whole.text_embeds[rows], whole.ids[rows], whole.captions_of(whole.ids[rows])
        )
        for rows in (slice(0, 12), slice(12, 13), slice(13, 30))
    ]
    memory = parts[0]
    for part in parts[1:]:
        memory.merge(part)
    assert all(equal(a, b) for a, b in zip(found_by(memory), found_by(whole), strict=True))
    assert memory.captions_of(memory.ids) == whole.captions_of(whole.ids)


def test_merging_leaves_out_what_the_other_has_removed():
    memory, other = random_memory(5), random_memory(6, seed=20, ids=torch.arange(6) + 10)
    other.remove([12])
    memory.merge(other)
    assert memory.ids.tolist() == [0, 1, 2, 3, 4, 10, 11, 13, 14, 15] and memory.captions_of([13]) == ["caption 3"]


def test_merging_keeps_encoders_apart():
    memory = random_memory(5, fingerprint="a")
    with pytest.raises(ValueError, match="made by another encoder: its fingerprint is b"):
        memory.merge(random_memory(5, ids=torch.arange(5) + 5, fingerprint="b"))
    with pytest.raises(ValueError, match="projection_dim 16 and 8 cannot be merged"):
        memory.merge(random_memory(5, 8))
    with pytest.raises(ValueError, match="5 of 5 ids are in the memory already"):
        memory.merge(random_memory(5))
    unknown = random_memory(2)
    unknown.merge(random_memory(2, ids=[5, 6], fingerprint="b"))
    assert unknown.fingerprint == "b"


def test_every_edit_changes_the_version():
    memory = random_memory(5)
    versions = [memory.version]
    ids = memory.add(unit_rows(1, 16), unit_rows(1, 16))
    versions.append(memory.version)
    memory.remove(ids)
    versions.append(memory.version)
    memory.merge(random_memory(1, ids=[77]))
    versions.append(memory.version)
    assert len(set(versions)) == 4


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda memory: memory.add(unit_rows(1, 8), unit_rows(1, 8)), "projection_dim 16, got embeddings of 8"),
        (lambda memory: memory.add(unit_rows(1, 16), unit_rows(1, 16), ids=[3]), "in the memory already"),
        (lambda memory: memory.add(unit_rows(1, 16), unit_rows(1, 16), captions=["a", "b"]), "must match"),
        (lambda memory: memory.add(unit_rows(1, 16) * float("nan"), unit_rows(1, 16)), "NaN"),
        (lambda memory: memory.remove([1, 40]), r"1 of 2 ids are not in the memory, the first are \[40\]"),
        (lambda memory: memory.remove(torch.arange(5)), "would leave an empty memory"),
    ],
)
def test_an_edit_that_cannot_be_right_changes_nothing(edit, message):
    memory = random_memory(5)
    before = found_by(memory)
    with pytest.raises(ValueError, match=message):
        edit(memory)
    assert memory.version == 0 and all(equal(a, b) for a, b in zip(found_by(memory), before, strict=True))


# -- files --


def test_a_saved_memory_finds_the_same_and_knows_its_encoder(tmp_path):
    memory = random_memory(ids=torch.randperm(40), fingerprint="abc")
    memory.save_pretrained(tmp_path)
    assert files_of(tmp_path) == {MEMORY_FILE, ENTRIES_FILE}
    loaded = RecoMemory.from_pretrained(tmp_path)
    assert loaded.fingerprint == "abc" and len(loaded) == 40 and loaded.dtype == torch.float16
    assert all(equal(a, b) for a, b in zip(found_by(loaded), found_by(memory), strict=True))
    assert loaded.captions_of(memory.ids) == memory.captions_of(memory.ids)


def test_an_edited_memory_is_saved_as_it_is_then(tmp_path):
    random_memory().save_pretrained(tmp_path / "first")
    memory = RecoMemory.from_pretrained(tmp_path / "first")
    memory.remove([0, 5, 39])
    memory.add(unit_rows(2, 16, 50), unit_rows(2, 16, 51), captions=["x", None])
    memory.save_pretrained(tmp_path / "second")
    loaded = RecoMemory.from_pretrained(tmp_path / "second")
    assert torch.equal(loaded.ids, memory.ids) and loaded.ids.tolist()[-2:] == [39, 40]
    assert all(equal(a, b) for a, b in zip(found_by(loaded), found_by(memory), strict=True))
    assert loaded.captions_of(loaded.ids) == memory.captions_of(memory.ids)


def test_a_memory_may_be_saved_over_the_folder_it_was_opened_from(tmp_path):
    random_memory().save_pretrained(tmp_path)
    memory = RecoMemory.from_pretrained(tmp_path)
    memory.save_pretrained(tmp_path)
    memory.remove([3])
    before = found_by(memory)
    memory.save_pretrained(tmp_path)
    for same in (memory, RecoMemory.from_pretrained(tmp_path)):
        assert all(equal(a, b) for a, b in zip(found_by(same), before, strict=True))
        assert same.captions_of([4]) == ["caption 4"]


def test_without_pyarrow_everything_works_but_reading_captions_and_saving_edits(tmp_path, monkeypatch):
    random_memory().save_pretrained(tmp_path / "first")
    expected = found_by(random_memory())
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    memory = RecoMemory.from_pretrained(tmp_path / "first")
    assert all(equal(a, b) for a, b in zip(found_by(memory), expected, strict=True))
    memory.save_pretrained(tmp_path / "second")
    assert (tmp_path / "second" / ENTRIES_FILE).read_bytes() == (tmp_path / "first" / ENTRIES_FILE).read_bytes()
    assert len(RecoMemory.from_pretrained(tmp_path / "second")) == 40
    memory.remove([3])
    ids = memory.add(unit_rows(1, 16), unit_rows(1, 16))
    assert ids.tolist() == [40] and 3 not in found_by(memory, 40)[0].ids
    with pytest.raises(ImportError, match="pip install pyarrow"):
        memory.save_pretrained(tmp_path / "second")
    assert len(RecoMemory.from_pretrained(tmp_path / "second")) == 40


def test_opening_maps_the_file_instead_of_reading_it(tmp_path, monkeypatch):
    RecoMemory(unit_rows(120_000, 64, 1), unit_rows(120_000, 64, 2)).save_pretrained(tmp_path)
    monkeypatch.setattr(reco_memory, "MAX_BYTES_CHECKED_ON_OPENING", 0)
    process = psutil.Process()
    before = process.memory_info().rss
    memory = RecoMemory.from_pretrained(tmp_path)
    opened = process.memory_info().rss
    assert os.path.getsize(tmp_path / MEMORY_FILE) > 31e6 and opened - before < 10e6
    memory.retrieve_for_images(unit_rows(1, 64), 1)
    assert process.memory_info().rss - opened > 14e6, "a search reads the keys, or this measures nothing"


def damaged(folder, **changes) -> None:
    content = load_file(folder / MEMORY_FILE)
    with safe_open(folder / MEMORY_FILE, "pt") as file:
        metadata = file.metadata()
    save_file(
        {name: changes.get(name, tensor).contiguous() for name, tensor in content.items()}, folder / "new", metadata
    )
    os.replace(folder / "new", folder / MEMORY_FILE)


def test_damaged_embeddings_are_refused_when_opened_or_by_the_first_search(tmp_path, monkeypatch):
    random_memory().save_pretrained(tmp_path)
    spoiled = random_memory().text_embeds.clone()
    spoiled[17, 3] = float("nan")
    damaged(tmp_path, text_embeds=spoiled)
    with pytest.raises(ValueError, match=f"Row 17 of text_embeds in .*{MEMORY_FILE} has NaN"):
        RecoMemory.from_pretrained(tmp_path)
    # As with files that are too large to be read when they are opened.
    monkeypatch.setattr(reco_memory, "MAX_BYTES_CHECKED_ON_OPENING", 0)
    memory = RecoMemory.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="damaged: the key in row 17"):
        memory.retrieve_for_texts(unit_rows(1, 16), 2)
    with pytest.raises(ValueError, match="damaged: a value that was found"):
        memory.retrieve_for_images(memory.image_embeds[17:18].float(), 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": torch.zeros(40, dtype=torch.long)}, r"ids in .* must be different, 39 repeat, the first are \[0, 0"),
        ({"ids": torch.arange(40) - 1}, "ids in .* must be at least 0"),
        ({"image_embeds": 3 * random_memory().image_embeds}, "Row 0 of image_embeds in .* has norm 3"),
    ],
)
def test_a_file_with_impossible_content_is_refused(tmp_path, changes, message):
    random_memory().save_pretrained(tmp_path)
    damaged(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        RecoMemory.from_pretrained(tmp_path)


def test_missing_truncated_and_foreign_files_are_refused(tmp_path):
    folder, other = tmp_path / "memory", tmp_path / "other"
    random_memory().save_pretrained(folder)
    random_memory(41, seed=8).save_pretrained(other)
    shutil.copy(other / ENTRIES_FILE, folder / ENTRIES_FILE)
    with pytest.raises(ValueError, match=f"{ENTRIES_FILE} is truncated or does not belong to the embeddings"):
        RecoMemory.from_pretrained(folder)
    (folder / ENTRIES_FILE).unlink()
    with pytest.raises(ValueError, match=f"{ENTRIES_FILE} belongs beside its embeddings"):
        RecoMemory.from_pretrained(folder)
    (other / MEMORY_FILE).write_bytes((other / MEMORY_FILE).read_bytes()[:-3])
    with pytest.raises(ValueError, match="truncated"):
        RecoMemory.from_pretrained(other)
    (other / MEMORY_FILE).unlink()
    with pytest.raises(ValueError, match=f"holds no memory: {MEMORY_FILE} is missing"):
        RecoMemory.from_pretrained(other)
