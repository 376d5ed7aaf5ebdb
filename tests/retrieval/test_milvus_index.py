# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What is Milvus's own: files, servers and collections; that neighbors are right is in `test_indexes`."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_reco import random_memory, unit_rows

from hf_cloob.retrieval.milvus_index import MAX_RESULTS, MilvusIndex

OPEN = """
import sys, torch
from hf_cloob.retrieval.milvus_index import MilvusIndex
index = MilvusIndex("images", uri=sys.argv[1])
print(len(index), *index.search(torch.eye(16)[:2], 3).flatten().tolist())
"""


@pytest.fixture
def uri(tmp_path) -> str:
    yield str(tmp_path / "index.db")
    from milvus_lite import server_manager_instance

    server_manager_instance.release_all()


def test_another_process_opens_the_file_and_finds_the_same(uri):
    memory = random_memory(300)
    index = MilvusIndex.build(memory.image_embeds, memory.ids, "images", uri=uri)
    found = index.search(torch.eye(16)[:2], 3).flatten().tolist()
    index.close()
    result = subprocess.run(
        [sys.executable, "-c", OPEN, uri], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert result.stdout.split() == [str(number) for number in (300, *found)], result.stderr


def test_the_same_calls_speak_to_a_server_by_its_address(tmp_path):
    from milvus_lite.adapter.grpc.server import start_server_in_thread

    server, database, port = start_server_in_thread(str(tmp_path / "served"))
    address, memory = f"http://127.0.0.1:{port}", random_memory(300)
    built = MilvusIndex.build(memory.text_embeds, memory.ids, "texts", uri=address)
    index = MilvusIndex("texts", uri=address)
    memory.set_index(text_index=index)
    ids = memory.add(unit_rows(1, 16, 70), unit_rows(1, 16, 71))
    assert memory.retrieve_for_texts(unit_rows(1, 16, 71), 1).ids.item() == ids and len(built) == 301
    index.close()
    server.stop(grace=2).wait()
    database.close()


def test_many_queries_and_entries_go_in_several_messages(uri, monkeypatch):
    monkeypatch.setattr("hf_cloob.retrieval.milvus_index.ROWS_AT_ONCE", 70)
    monkeypatch.setattr("hf_cloob.retrieval.milvus_index.QUERIES_AT_ONCE", 40)
    memory = random_memory(300)
    index = MilvusIndex.build(memory.image_embeds, memory.ids, "images", uri=uri)
    assert torch.equal(index.search(memory.image_embeds.float(), 1).flatten(), memory.ids)
    some = torch.tensor([299, 0, 150])
    torch.testing.assert_close(index.keys(some), memory.image_embeds[some].float(), rtol=0, atol=1e-6)
    index.remove(memory.ids[:200])
    assert len(index) == 100 and index.has(memory.ids).tolist() == [False] * 200 + [True] * 100


def test_what_is_no_collection_of_ours_is_refused(uri, tmp_path):
    keys, ids = unit_rows(5, 16), torch.arange(5)
    with pytest.raises(ValueError, match=r"local Milvus file must end in .db, .* got 'index.faiss'"):
        MilvusIndex.build(keys, ids, "images", uri="index.faiss")
    with pytest.raises(ValueError, match="There is no Milvus file .*index.db"):
        MilvusIndex("images", uri=uri)
    assert list(tmp_path.iterdir()) == []
    index = MilvusIndex.build(keys, ids, "images", uri=uri)
    with pytest.raises(ValueError, match="has a collection 'images' already"):
        MilvusIndex.build(keys, ids, "images", uri=uri)
    with pytest.raises(ValueError, match=r"no collection 'texts', but \['images'\]"):
        MilvusIndex("texts", uri=uri)
    index._client.create_collection("foreign", dimension=8)
    with pytest.raises(ValueError, match=r"has the fields \['id', 'vector'\]"):
        MilvusIndex("foreign", uri=uri)
    with pytest.raises(ValueError, match=f"finds {MAX_RESULTS} entries for a query at most, not 20000"):
        index.search(keys, 20_000)


def test_a_server_that_does_not_answer_is_named():
    with pytest.raises(ValueError, match="Milvus cannot be reached at 'http://localhost:9'"):
        MilvusIndex("images", uri="http://localhost:9")


def test_the_extra_is_named_where_milvus_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(ImportError, match=r"pip install 'hf_cloob\[milvus\]'"):
        MilvusIndex.build(unit_rows(5, 16), torch.arange(5), "images")
