# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Tables and streamed datasets as sources: all rows, in another order each epoch; what is held out is gone."""

from collections import Counter

import datasets
import pytest
from dirty_corpus import expected, plan, write_parquet

from hf_cloob.data.bad_samples import BadSample
from hf_cloob.data.row_readers import ColumnReader
from hf_cloob.data.shards import EncodedPair
from hf_cloob.data.table_shards import StreamedShards, TableRows


def table(size):
    rows = datasets.Dataset.from_dict(
        {"image": [f"{n}.jpg" for n in range(size)], "caption": [f"c {n}" for n in range(size)]}
    )
    return TableRows(rows, ColumnReader(rows.features, "image", ["caption"], "rows"), "rows")


def numbers(source, epoch):
    return [item.number for shard in range(source.num_shards) for item in source.read(shard, epoch)]


def test_the_shards_of_an_epoch_hold_each_row_once_in_an_order_of_its_own():
    source = table(1000)
    first, second = numbers(source, 0), numbers(source, 1)
    assert sorted(first) == sorted(second) == list(range(1000))
    assert first != second and numbers(source, 0) == first
    assert source.num_shards == 4


def test_rows_held_out_of_a_table_lie_all_over_it_and_are_read_no_more():
    source = table(500)
    held_out = {int(pair.captions[0].split()[1]) for pair in source.hold_out(100)}
    assert len(held_out) == 100 and max(held_out) > 400
    assert held_out.isdisjoint(numbers(source, 0))
    assert len(numbers(source, 3)) == source.num_rows == 400


def test_an_empty_table_is_refused():
    with pytest.raises(ValueError, match="rows has no rows"):
        table(0)


def test_parquet_is_streamed_file_by_file_and_a_damaged_file_is_one_bad_sample(tmp_path):
    pairs = plan(0, 1, 30)
    write_parquet(pairs[:40], tmp_path / "a.parquet")
    write_parquet(pairs[40:], tmp_path / "b.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    files = [str(tmp_path / f"{name}.parquet") for name in "abc"]
    (tmp_path / "c.parquet").write_bytes(content[: len(content) // 2])
    dataset = datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)
    reader = ColumnReader(dataset.features, "image", ["caption"], "files")
    source = StreamedShards(dataset, reader, "files")
    assert source.num_shards == 3
    items = [item for shard in range(3) for item in source.read(shard, 0)]
    bad = Counter(item.cause for item in items if isinstance(item, BadSample))
    assert bad["unreadable shard"] == 1
    captions = {pair.cause: 0 for pair in pairs if pair.cause and "caption" in pair.cause}
    assert {cause: bad[cause] for cause in captions} == {cause: expected(pairs)[1][cause] for cause in captions}
    assert sum(isinstance(item, EncodedPair) for item in items) + bad.total() == len(pairs) + 1
