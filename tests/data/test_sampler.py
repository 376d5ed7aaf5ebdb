# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Global batches: free of duplicates, and a function of seed and step only."""

import random
import time

import pytest
import torch

from hf_cloob.data.image_augmentation import EvaluationTransform
from hf_cloob.data.pairs import ImageTextPairs
from hf_cloob.data.sampler import NoDuplicatesBatchSampler, largest_batch, pack_batches

NUM_SAMPLES = 300


def few_keys(epoch, index):
    """70 concepts, and captions of which some are shared by several concepts and change from epoch to epoch."""
    return (f"concept:{index % 70}", f"caption:{(index * 7 + epoch) % 90}")


def batches(keys=few_keys, num_samples=NUM_SAMPLES, **changes):
    settings = {"batch_size": 20, "num_steps": 50, "seed": 1} | changes
    return list(NoDuplicatesBatchSampler(num_samples, keys, **settings))


@pytest.fixture(scope="module")
def pairs(emoji):
    return ImageTextPairs(emoji["train"], EvaluationTransform(32, (0, 0, 0), (1, 1, 1)), seed=2)


@pytest.mark.parametrize("batch_size", [64, 1024])
def test_no_emoji_batch_holds_a_concept_or_a_caption_twice(pairs, batch_size):
    made = batches(pairs.duplicate_keys, len(pairs), batch_size=batch_size, num_steps=12)
    assert len(made) == 12
    for batch in made:
        keys = [key for epoch, index in batch for key in pairs.duplicate_keys(epoch, index)]
        assert len(set(keys)) == len(keys) == 2 * batch_size


def test_a_plain_shuffle_would_not_do(pairs):
    drawn = random.Random(0).sample(range(len(pairs)), 64)
    keys = [key for index in drawn for key in pairs.duplicate_keys(0, index)]
    assert len(set(keys)) < len(keys)


def test_an_epoch_shows_a_sample_once_and_counts_what_it_drops():
    sampler = NoDuplicatesBatchSampler(NUM_SAMPLES, few_keys, batch_size=20, num_steps=50, seed=1)
    by_epoch = {}
    for batch in sampler:
        for epoch, index in batch:
            by_epoch.setdefault(epoch, []).append(index)
    assert len(by_epoch) > 2
    for epoch, shown in list(by_epoch.items())[:-1]:
        assert len(set(shown)) == len(shown) == NUM_SAMPLES - sampler.dropped_by_epoch[epoch]
    assert by_epoch[0] != by_epoch[1]


@pytest.mark.parametrize("num_processes", [2, 3, 7])
def test_slices_of_processes_join_to_the_global_batch(num_processes):
    whole = batches()
    slices = [batches(process_index=rank, num_processes=num_processes) for rank in range(num_processes)]
    for step, batch in enumerate(whole):
        parts = [own[step] for own in slices]
        assert sum(parts, []) == batch
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("first_step", [0, 1, 14, 37, 50])
def test_resuming_gives_the_tail_of_the_run(first_step):
    assert batches(first_step=first_step) == batches()[first_step:]


def test_a_longer_run_begins_like_a_shorter_one():
    assert batches(num_steps=80)[:50] == batches()


def test_another_seed_gives_other_batches():
    assert batches(seed=2) != batches()


def test_the_length_is_what_is_left_of_the_run():
    assert len(NoDuplicatesBatchSampler(NUM_SAMPLES, few_keys, 20, num_steps=50, first_step=20)) == 30


def test_without_shared_keys_only_the_last_partial_batch_is_dropped():
    sampler = NoDuplicatesBatchSampler(105, lambda epoch, index: (str(index),), batch_size=20, num_steps=5)
    assert sampler.dropped_by_epoch == {0: 5}


def test_samples_without_any_key_pack_freely():
    assert len(batches(lambda epoch, index: (), num_samples=40, batch_size=20, num_steps=2)) == 2


def test_a_batch_that_cannot_be_filled_is_an_error_with_the_numbers():
    with pytest.raises(ValueError, match="batch_size 80 is too large: of the 300 samples only about 70 can"):
        batches(lambda epoch, index: (f"concept:{index % 70}",), batch_size=80)


def test_many_dropped_samples_are_warned_of(caplog):
    batches(lambda epoch, index: (str(min(index, 200)),), batch_size=20, num_steps=1)
    assert "leave out 100 of the 300 samples" in caplog.text


@pytest.mark.parametrize(
    "changes",
    [{"num_processes": 21}, {"process_index": 1}, {"process_index": -1}, {"first_step": 51}, {"batch_size": 0}],
)
def test_contradictory_numbers_are_refused(changes):
    with pytest.raises(ValueError, match="global batch|first_step"):
        batches(**changes)


def test_packing_leaves_no_room_unused_that_an_early_sample_could_take():
    keys = ["a", "a", "a", "b", "c", "d"]
    packed = pack_batches(range(6), lambda index: (keys[index],), 2)
    assert packed == [[0, 3], [1, 4], [2, 5]]
    assert largest_batch(6, lambda index: (keys[index],)) == 4


def test_packing_takes_linear_time_even_when_one_key_is_everywhere():
    def seconds(count):
        indices = torch.randperm(count).tolist()
        keys = [(f"concept:{max(index, count // 5)}", f"caption:{index % (count // 3)}") for index in range(count)]
        best = []
        for _ in range(3):
            start = time.process_time()
            pack_batches(indices, keys.__getitem__, 64)
            best.append(time.process_time() - start)
        return min(best)

    # Four times the samples: quadratic would be sixteen times the work.
    assert seconds(80_000) < 10 * seconds(20_000)
