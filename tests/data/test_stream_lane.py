# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Lanes: every pair once an epoch, whatever the shards; seeded; no caption twice where there is another."""

import random
from collections import Counter

import datasets
import pytest
from dirty_corpus import Planted, encode, picture, write_tar

from hf_cloob.data.row_readers import ColumnReader
from hf_cloob.data.stream_lane import StreamLane
from hf_cloob.data.table_shards import TableRows
from hf_cloob.data.tar_shards import TarShards


def table(captions, seed=0):
    rows = datasets.Dataset.from_dict({"image": [f"{n}.jpg" for n in range(len(captions))], "caption": captions})
    return TableRows(rows, ColumnReader(rows.features, "image", ["caption"], "table"), "table", seed)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Five shards of 3, 10, 1, 7 and 4 pairs."""
    folder, rng = tmp_path_factory.mktemp("shards"), random.Random(0)
    image = encode(picture(rng, (8, 8)))
    return [
        str(
            write_tar(
                [Planted("", image, f"{shard} {n}".encode(), None) for n in range(size)], folder / f"{shard}.tar"
            )
        )
        for shard, size in enumerate((3, 10, 1, 7, 4))
    ]


def drawn(lane, count, group=0):
    return [lane.draw(group, set()) for _ in range(count)]


def lanes(sources, num_lanes, **changes):
    settings = {"num_groups": 1, "buffer_size": 6, "seed": 1} | changes
    return [StreamLane(sources, [1.0] * len(sources), number, num_lanes, **settings) for number in range(num_lanes)]


@pytest.mark.parametrize("num_lanes", [1, 2, 3, 4, 7, 12])
def test_every_pair_is_read_once_an_epoch_by_one_lane(shards, num_lanes):
    entries = [entry for lane in lanes([TarShards(shards)], num_lanes) for entry in drawn(lane, 120)]
    by_epoch = {}
    for entry in entries:
        by_epoch.setdefault(entry.epoch, []).append((entry.index, entry.text))
    for epoch, pairs in by_epoch.items():
        assert len(set(pairs)) == len(pairs), epoch
    # 120 draws of each lane are four epochs and more; the first three cannot still be in a buffer of 6.
    everything = {
        (shard << 32 | row, f"{shard} {row}") for shard, size in enumerate((3, 10, 1, 7, 4)) for row in range(size)
    }
    assert set(by_epoch[0]) == everything
    assert len(by_epoch) > 3


def test_a_tables_rows_are_shuffled_through_and_through_and_each_comes_once():
    source = table([f"row {n}" for n in range(1000)])
    one, two = lanes([source], 2, buffer_size=2)
    first = [entry.index for entry in drawn(one, 480)]
    second = [entry.index for entry in drawn(two, 480)]
    assert not set(first) & set(second)
    assert len(set(first + second)) == 960
    # A lane's first hundred rows lie all over the table, although its buffer holds two.
    assert max(first[:100]) > 900 and min(first[:100]) < 100


def test_seeds_and_epochs_change_the_order_and_nothing_else_does(shards):
    def order(seed):
        (lane,) = lanes([TarShards(shards)], 1, seed=seed)
        return [entry.text for entry in drawn(lane, 75)]

    assert order(1) == order(1) != order(2)
    assert order(1)[:25] != order(1)[25:50]


def test_a_caption_is_not_drawn_twice_into_a_batch_while_there_is_another():
    source = table([f"caption {n // 4}" for n in range(400)])
    (lane,) = lanes([source], 1, buffer_size=100)
    seen = Counter()
    for _ in range(20):
        taken = set()
        batch = [lane.draw(0, taken) for _ in range(20)]
        assert len({entry.key for entry in batch}) == 20
        seen.update(entry.index for entry in batch)
    # A duplicate is put off, not lost: of the 400 pairs only those in the buffer are still to come.
    assert max(seen.values()) == 1 or len(seen) >= 300
    assert lane.false_negatives["deferred"] > 0
    assert lane.false_negatives["let_through"] == 0


def test_where_all_captions_are_alike_they_are_let_through_and_counted():
    (lane,) = lanes([table(["the same"] * 50)], 1, buffer_size=10)
    taken = set()
    for _ in range(5):
        lane.draw(0, taken)
    assert lane.false_negatives["let_through"] == 4


def test_lanes_that_are_asked_for_different_groups_never_give_the_same_caption():
    source = table([f"caption {n % 300}" for n in range(1200)])
    both = lanes([source], 2, num_groups=2, buffer_size=150)
    other_group = 0
    for step in range(12):
        captions = []
        for number, lane in enumerate(both):
            taken = set()
            captions += [lane.draw((number + step) % 2, taken).key for _ in range(30)]
        other_group = sum(lane.false_negatives["other_group"] for lane in both)
        if other_group == 0:
            assert len(set(captions)) == 60, step
    assert other_group < 8


def test_weights_are_the_sources_shares_of_the_pairs():
    sources = [table([f"a{n}" for n in range(100)]), table([f"b{n}" for n in range(100)])]
    lane = StreamLane(sources, [3.0, 1.0], 0, 1, num_groups=1, buffer_size=20, seed=0)
    counts = Counter(entry.source for entry in drawn(lane, 2000))
    # Four standard deviations of a binomial.
    assert abs(counts[0] - 1500) < 4 * (2000 * 0.75 * 0.25) ** 0.5


def test_a_lane_goes_on_from_its_state(shards):
    sources = [TarShards(shards), table([f"row {n}" for n in range(30)])]

    def lane(state=None):
        return StreamLane(sources, [1, 2], 1, 3, num_groups=2, buffer_size=9, seed=5, state=state)

    whole, broken_off = lane(), lane()
    expected = [(entry.epoch, entry.index, entry.text) for entry in drawn(whole, 120)]
    for start in (0, 1, 37, 110):
        first = lane()
        drawn(first, start)
        resumed = lane(first.state)
        assert [(e.epoch, e.index, e.text) for e in drawn(resumed, 120 - start)] == expected[start:]
    assert broken_off.num_reads == 0


def test_a_state_whose_files_have_changed_is_refused(shards, tmp_path):
    (lane,) = lanes([TarShards(shards)], 1)
    drawn(lane, 3)
    with pytest.raises(ValueError, match="are not where they were: the training files have changed"):
        StreamLane([TarShards(shards[2:3])], [1.0], 0, 1, num_groups=1, buffer_size=6, seed=1, state=lane.state)


def test_one_caption_of_a_list_is_drawn_an_epoch():
    rows = datasets.Dataset.from_dict({"image": ["0.jpg"], "caption": [["one", "two", "three"]]})
    source = TableRows(rows, ColumnReader(rows.features, "image", ["caption"], "table"), "table")
    (lane,) = lanes([source], 1, buffer_size=1)
    assert {entry.text for entry in drawn(lane, 40)} == {"one", "two", "three"}
    first_only = StreamLane([source], [1.0], 0, 1, 1, buffer_size=1, seed=0, first_caption_share=1.0)
    assert {entry.text for entry in drawn(first_only, 10)} == {"one"}


def test_a_source_without_one_usable_pair_is_an_error_that_says_why(tmp_path):
    path = write_tar([Planted("", b"", None, None)] * 3, tmp_path / "bad.tar")
    (lane,) = lanes([TarShards([str(path)])], 1)
    with pytest.raises(ValueError, match="No pair of .*bad.tar can be used: .*'missing caption'"):
        lane.draw(0, set())


def test_a_source_without_pairs_is_an_error(tmp_path):
    path = write_tar([], tmp_path / "empty.tar")
    (lane,) = lanes([TarShards([str(path)])], 1)
    with pytest.raises(ValueError, match="holds no pair"):
        lane.draw(0, set())
