# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A stream's global batches: full, and a function of seed and step only."""

import random
from functools import partial

import numpy as np
import pytest
import torch
from dirty_corpus import Planted, encode, expected, picture, plan, write_tars

from hf_cloob.data.image_augmentation import TrainingTransform
from hf_cloob.data.pairs import SampleMaker
from hf_cloob.data.stream import PairStream
from hf_cloob.data.tar_shards import TarShards

TRANSFORM = TrainingTransform(8, (0.5,) * 3, (0.5,) * 3)


def collate(samples):
    return {
        "pixel_values": torch.stack([sample["pixel_values"] for sample in samples]),
        "text": [sample["text"] for sample in samples],
        "index": torch.tensor([sample["index"] for sample in samples]),
    }


@pytest.fixture(scope="module")
def planted():
    return plan(seed=3, each=1, good=60)


@pytest.fixture(scope="module")
def shards(planted, tmp_path_factory):
    return [str(path) for path in write_tars(planted, tmp_path_factory.mktemp("tar"), 5)]


@pytest.fixture
def stream(shards):
    settings = {"batch_size": 12, "num_steps": 14, "seed": 1, "num_blocks": 2, "num_phases": 4, "buffer_size": 10}
    return lambda **changes: PairStream(
        [TarShards(shards)], SampleMaker(TRANSFORM, 1), collate, **(settings | changes)
    )


def global_batches(stream, num_processes=1, num_workers=0, **changes):
    """The batches of all processes, joined."""
    loaders = [
        torch.utils.data.DataLoader(
            stream(process_index=index, num_processes=num_processes, **changes),
            batch_size=None,
            num_workers=num_workers,
            multiprocessing_context="fork" if num_workers else None,
        )
        for index in range(num_processes)
    ]
    joined = []
    for parts in zip(*loaders, strict=True):
        batch = {"text": [text for part in parts for text in part["text"]]}
        batch |= {name: torch.cat([part[name] for part in parts]) for name in ("pixel_values", "index")}
        batch["states"] = {lane: state for part in parts for lane, state in part["stream_state"].items()}
        joined.append(batch)
    return joined


def same(one, other):
    assert len(one) == len(other)
    for first, second in zip(one, other, strict=True):
        assert first["text"] == second["text"]
        assert torch.equal(first["index"], second["index"])
        assert torch.equal(first["pixel_values"], second["pixel_values"])


@pytest.mark.parametrize(("num_processes", "num_workers"), [(2, 0), (1, 2), (2, 2)])
def test_neither_processes_nor_workers_change_the_global_batches(stream, num_processes, num_workers):
    same(global_batches(stream), global_batches(stream, num_processes, num_workers))


def test_all_batches_are_full_although_pictures_are_broken(stream, planted):
    batches = list(stream())
    assert [len(batch["text"]) for batch in batches] == [12] * 14
    causes = set().union(*(batch["skipped"] for batch in batches))
    assert causes and causes <= set(expected(planted)[1])
    assert all(set(batch["skipped_at"]) == set(batch["skipped"]) for batch in batches)
    assert all(".tar/" in place for batch in batches for place in [*batch["key"], *batch["skipped_at"].values()])


@pytest.mark.parametrize("first_step", [1, 3, 6, 13])
@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 1), (1, 2)])
def test_a_run_goes_on_from_its_positions_on_any_number_of_processes(stream, first_step, before, after):
    whole = global_batches(stream, before)
    positions = {}
    for batch in whole[:first_step]:
        positions |= batch["states"]
    same(global_batches(stream, after, first_step=first_step, positions=positions), whole[first_step:])


def test_what_is_skipped_is_counted_once_over_a_resumption(stream):
    def skipped(batches):
        return sum(sum(batch["skipped"].values()) for batch in batches)

    whole = list(stream())
    positions = {}
    for batch in whole[:6]:
        positions |= batch["stream_state"]
    assert skipped(whole[:6]) + skipped(stream(first_step=6, positions=positions)) == skipped(whole)


def test_going_on_without_positions_is_refused(stream):
    with pytest.raises(ValueError, match=r"Going on at step 2 needs the positions of the lanes \[0, 1, 2, 3\]"):
        stream(first_step=2)


def test_no_caption_comes_twice_into_a_global_batch_of_two_processes(tmp_path, stream):
    rng = random.Random(0)
    image = encode(picture(rng, (8, 8)))
    # Every caption four times, in different shards.
    pairs = [Planted("", image, f"caption {n % 60}".encode(), None) for n in range(240)]
    paths = [str(path) for path in write_tars(pairs, tmp_path, 7)]
    make = partial(PairStream, [TarShards(paths)], SampleMaker(TRANSFORM, 0), collate, 16, 8, buffer_size=30)
    settings = {"num_blocks": 2, "num_phases": 1}
    for parts in zip(*(make(process_index=i, num_processes=2, **settings) for i in range(2)), strict=True):
        if not any(part["false_negatives"].get("other_group") for part in parts):
            texts = [text for part in parts for text in part["text"]]
            assert len(set(texts)) == 16
    counts = [part["false_negatives"] for part in make(num_processes=1, **settings)]
    assert sum(count.get("deferred", 0) for count in counts) > 0
    assert sum(count.get("let_through", 0) for count in counts) == 0


def test_the_state_is_arrays_that_survive_as_lists(stream):
    first = next(iter(stream()))["stream_state"]
    assert all(isinstance(value, np.ndarray) for state in first.values() for value in state.values())
    listed = {lane: {name: value.tolist() for name, value in state.items()} for lane, state in first.items()}
    same(
        global_batches(stream, first_step=1, positions=listed),
        global_batches(stream, first_step=1, positions=first),
    )


def test_workers_that_do_not_divide_the_phases_are_refused(stream):
    loader = torch.utils.data.DataLoader(stream(num_phases=3), batch_size=None, num_workers=2)
    with pytest.raises(ValueError, match="The 3 phases of the stream must be a multiple of the 2 workers"):
        next(iter(loader))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_processes": 3}, "num_blocks must be a multiple of the 3 processes"),
        ({"weights": [1.0, 2.0]}, "Each of the 1 sources needs one weight"),
        ({"weights": [0.0]}, "weight above 0, got"),
        ({"first_step": 15}, "first_step must be from 0 to num_steps"),
    ],
)
def test_numbers_that_contradict_each_other_are_refused(stream, changes, message):
    with pytest.raises(ValueError, match=message):
        stream(**changes)


def test_pictures_that_are_all_broken_end_the_run_with_the_causes(tmp_path):
    (path,) = write_tars([Planted("", b"no picture", f"{n}".encode(), None) for n in range(5)], tmp_path, 1)
    stream = PairStream([TarShards([str(path)])], SampleMaker(TRANSFORM, 0), collate, 4, 2)
    with pytest.raises(ValueError, match="2000 pairs of the stream in a row cannot be used, the last: not an image"):
        next(iter(stream))
