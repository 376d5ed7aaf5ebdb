# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What is FAISS's own: settings and files; that neighbors are right is in `test_indexes`."""

import sys

import faiss
import pytest
import torch
from tiny_reco import random_memory, unit_rows

from hf_cloob.retrieval.faiss_index import FaissIndex, flat_index, hnsw_index, ivf_index

MAKERS = [flat_index, hnsw_index, ivf_index]


def rows_of(size: int = 3000, width: int = 32, seed: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    return unit_rows(size, width, seed).half(), torch.arange(size) * 3


@pytest.mark.parametrize("make", MAKERS)
def test_a_removed_entry_is_proposed_no_more_in_a_saved_index_too(make, tmp_path):
    keys, ids = rows_of()
    index = make(keys, ids)
    assert torch.equal(index.search(keys[:5].float(), 1).flatten(), ids[:5])
    index.remove(ids[:5])
    index.save(tmp_path / "index.faiss")
    for one in (index, FaissIndex.load(tmp_path / "index.faiss")):
        found = one.search(keys[:5].float(), 10)
        assert (found >= 0).all() and not torch.isin(found, ids[:5]).any()
        assert len(one) == 2995 and one.has(ids[3:7]).tolist() == [False, False, True, True]
    assert [path.name for path in tmp_path.iterdir()] == ["index.faiss"]


@pytest.mark.parametrize("make", MAKERS)
def test_all_ids_up_to_the_largest_number_may_be_used(make):
    keys, _ = rows_of(200)
    ids = torch.arange(200)
    ids[7], ids[0] = 2**63 - 1, 1000
    index = make(keys, ids)
    index.remove(ids[3:4])
    assert index.search(keys[7:8].float(), 1).item() == 2**63 - 1


def test_wider_searches_find_more():
    keys, ids = rows_of(4000, 64)
    queries, expected = unit_rows(100, 64, 9), flat_index(keys, ids).search(unit_rows(100, 64, 9), 10)

    def recall(index: FaissIndex) -> float:
        return (index.search(queries, 10).unsqueeze(2) == expected.unsqueeze(1)).any(dim=2).float().mean().item()

    graphs = [recall(hnsw_index(keys, ids, num_links=8, ef_search=ef)) for ef in (10, 40, 300)]
    lists = [recall(ivf_index(keys, ids, num_lists=60, num_probes=probes)) for probes in (1, 10, 60)]
    for few, some, most in (graphs, lists):
        assert few < some - 0.1 < most - 0.1 and most > 0.9


def test_a_saved_index_keeps_its_settings(tmp_path):
    keys, ids = rows_of()
    for index in (hnsw_index(keys, ids, ef_search=77), ivf_index(keys, ids, num_lists=11, num_probes=5)):
        index.save(tmp_path / "index.faiss")
        loaded = FaissIndex.load(tmp_path / "index.faiss")
        inner = faiss.downcast_index(loaded._index.index)
        if isinstance(inner, faiss.IndexHNSW):
            assert inner.hnsw.efSearch == 77
        else:
            assert (inner.nlist, inner.nprobe) == (11, 5)


def test_compressed_lists_take_half_of_what_half_precision_takes(tmp_path):
    keys, ids = rows_of(20_000, 128)
    ivf_index(keys, ids).save(tmp_path / "ivf.faiss")
    # Beside a byte a dimension: ids twice, the way from entries to lists, and centroids.
    assert (tmp_path / "ivf.faiss").stat().st_size < 20_000 * (128 + 3 * 8) * 1.05


@pytest.mark.parametrize("size", [1, 2, 70])
def test_lists_are_no_more_than_there_are_keys_to_fit_them(size):
    keys, ids = rows_of(size)
    assert ivf_index(keys, ids).search(keys[-1:].float(), 1).item() == ids[-1]


def test_what_is_no_saved_index_is_refused(tmp_path):
    keys, ids = rows_of(300)
    with pytest.raises(ValueError, match="nowhere.faiss' is missing, damaged or no FAISS index"):
        FaissIndex.load(tmp_path / "nowhere.faiss")
    flat_index(keys, ids).save(tmp_path / "whole.faiss")
    content = (tmp_path / "whole.faiss").read_bytes()
    for name, part in (("cut.faiss", content[:-100]), ("other.faiss", b"PK" + content), ("empty.faiss", b"")):
        (tmp_path / name).write_bytes(part)
        with pytest.raises(ValueError, match=f"{name}' is missing, damaged or no FAISS index"):
            FaissIndex.load(tmp_path / name)
    without_ids = faiss.IndexFlatIP(32)
    without_ids.add(keys.float().numpy())
    faiss.write_index(without_ids, str(tmp_path / "without.faiss"))
    with pytest.raises(ValueError, match="without.faiss' holds a IndexFlatIP without ids"):
        FaissIndex.load(tmp_path / "without.faiss")


def test_the_extra_is_named_where_faiss_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    memory = random_memory()
    with pytest.raises(ImportError, match=r"pip install 'hf_cloob\[faiss\]'"):
        flat_index(memory.image_embeds, memory.ids)
