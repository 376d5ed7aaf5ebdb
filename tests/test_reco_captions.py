# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""memory_entries.parquet: read when it is needed, refused when it is another's, and dispensable."""

import sys

import pytest
import torch
from datasets import load_dataset

from hf_cloob import reco_captions
from hf_cloob.reco_captions import ENTRIES_FILE, StoredCaptions, write_entries

CAPTIONS = ["a red apple", None, "Grüße, 世界", "", 'say "no"\n']


@pytest.fixture
def written(tmp_path):
    path = tmp_path / ENTRIES_FILE
    return path, write_entries(path, torch.tensor([3, 1, 4, 15, 9]), iter(CAPTIONS))


def test_captions_come_back_in_their_order(written):
    path, metadata = written
    captions = StoredCaptions(path, metadata, 5)
    assert list(captions) == CAPTIONS and captions[2] == CAPTIONS[2] and len(captions) == 5


def test_row_groups_lose_no_caption(tmp_path, monkeypatch):
    monkeypatch.setattr(reco_captions, "ROWS_AT_ONCE", 3)
    texts = [f"caption {number}" for number in range(10)]
    metadata = write_entries(tmp_path / ENTRIES_FILE, torch.arange(10), iter(texts))
    assert list(StoredCaptions(tmp_path / ENTRIES_FILE, metadata, 10)) == texts


def test_the_file_is_a_table_for_everybody(written, tmp_path):
    path, _ = written
    table = load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    assert table.to_dict() == {"ids": [3, 1, 4, 15, 9], "captions": CAPTIONS}


def test_nothing_is_read_before_a_caption_is_asked_for(written):
    path, metadata = written
    captions = StoredCaptions(path, metadata, 5)
    assert captions._captions is None and len(captions) == 5
    path.unlink()
    with pytest.raises(FileNotFoundError):
        captions[0]


def test_a_missing_or_truncated_file_is_refused_at_once(written):
    path, metadata = written
    with pytest.raises(ValueError, match=f"{ENTRIES_FILE} belongs beside its embeddings"):
        StoredCaptions(None, metadata, 5)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match="truncated or does not belong.*they were saved with"):
        StoredCaptions(path, metadata, 5)


def test_other_captions_of_the_same_size_are_refused_when_they_are_read(written):
    path, metadata = written
    changed = bytearray(path.read_bytes())
    changed[20] ^= 1
    path.write_bytes(changed)
    captions = StoredCaptions(path, metadata, 5)
    with pytest.raises(ValueError, match="its checksum differs"):
        captions[0]


def test_without_pyarrow_the_package_to_install_is_named(written, monkeypatch):
    path, metadata = written
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    captions = StoredCaptions(path, metadata, 5)
    with pytest.raises(ImportError, match="To read the captions of a memory.*pip install pyarrow"):
        captions[0]
    with pytest.raises(ImportError, match="To write the captions"):
        write_entries(path, torch.arange(2), ["a", "b"])
