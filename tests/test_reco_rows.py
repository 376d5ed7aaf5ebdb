# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Rows of a memory: appended and removed without moving, found by id."""

import pytest
import torch
from tiny_reco import unit_rows

from hf_cloob.reco_rows import MemoryRows, RowBlock


def block(*ids: int) -> RowBlock:
    rows = unit_rows(len(ids), 4, seed=ids[0]).half()
    return RowBlock(rows, -rows, torch.tensor(ids), [f"entry {number}" for number in ids])


def content(rows: MemoryRows) -> list[int]:
    """Ids of all entries; embeddings and captions must belong to them."""
    ids = []
    for part in rows.remaining():
        assert list(part.captions) == [f"entry {number}" for number in part.ids.tolist()]
        assert len(part.image_embeds) == len(part.text_embeds) == len(part)
        ids += part.ids.tolist()
    assert list(rows.captions()) == [f"entry {number}" for number in ids]
    assert len(rows) == len(ids) and rows.remaining_ids().tolist() == ids
    return ids


def test_rows_are_found_by_their_ids_over_blocks():
    rows = MemoryRows(block(7, 2, 9))
    rows.append([block(4), block(1, 8)])
    assert rows.of(torch.tensor([8, 7, 4])).tolist() == [5, 0, 3]
    assert rows.has(torch.tensor([3, 9, 100, 1])).tolist() == [False, True, False, True]
    assert [rows.caption(row) for row in range(6)] == [f"entry {number}" for number in (7, 2, 9, 4, 1, 8)]
    with pytest.raises(ValueError, match=r"2 of 3 ids are not in the memory, the first are \[3, 5\]"):
        rows.of(torch.tensor([3, 7, 5]))


def test_removed_rows_are_gone_and_the_others_keep_their_numbers():
    rows = MemoryRows(block(7, 2, 9))
    rows.append([block(4, 1, 8)])
    rows.remove(torch.tensor([1, 4]))
    assert content(rows) == [7, 9, 4, 8] and rows.removed.tolist() == [1, 4]
    assert rows.of(torch.tensor([9, 8])).tolist() == [2, 5]
    assert not rows.has(torch.tensor([2, 1])).any()
    rows.append([block(2, 5)])
    assert content(rows) == [7, 9, 4, 8, 2, 5] and rows.of(torch.tensor([2])).tolist() == [6]


def test_blocks_that_stay_whole_are_not_copied():
    rows = MemoryRows(block(7, 2, 9))
    rows.append([block(4, 1)])
    rows.remove(torch.tensor([3]))
    whole, cut = rows.remaining()
    assert whole.image_embeds.data_ptr() == rows.blocks[0].image_embeds.data_ptr()
    assert cut.ids.tolist() == [1]


def test_removing_what_was_added_leaves_no_trace():
    rows = MemoryRows(block(7, 2, 9))
    rows.append([block(4, 1)])
    rows.append([block(3)])
    rows.remove(torch.tensor([4, 5]))
    assert [len(part) for part in rows.blocks] == [3, 2] and rows.removed.tolist() == [4]
    rows.remove(torch.tensor([3]))
    assert [len(part) for part in rows.blocks] == [3] and not len(rows.removed) and rows.ids.tolist() == [7, 2, 9]


def test_ids_that_are_there_already_are_named():
    rows = MemoryRows(block(7, 2, 9))
    with pytest.raises(ValueError, match=r"1 of 2 ids are in the memory already, the first are \[9\]"):
        rows.append([block(4, 9)])
    assert content(rows) == [7, 2, 9]


def test_captions_are_not_read_before_they_are_asked_for():
    class Unread(list):
        def __getitem__(self, row):
            raise AssertionError("read")

    rows = MemoryRows(RowBlock(unit_rows(3, 4).half(), unit_rows(3, 4).half(), torch.arange(3), Unread("abc")))
    rows.remove(torch.tensor([1]))
    (left,) = rows.remaining()
    assert len(left.captions) == 2 and rows.remaining_ids().tolist() == [0, 2]
    with pytest.raises(AssertionError, match="read"):
        left.captions[0]


def test_a_block_in_the_middle_may_vanish():
    rows = MemoryRows(block(7))
    rows.append([block(4, 1), block(3)])
    rows.remove(torch.tensor([1, 2]))
    assert content(rows) == [7, 3]
