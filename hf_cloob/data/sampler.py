# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Global batches without false negatives: no two pairs of a batch share a concept or a caption."""

import logging
from collections.abc import Callable, Iterator, Sequence

import torch

from .pairs import SampleKey, sample_seed

logger = logging.getLogger(__name__)

# Only a batch size at the very edge of what packs can leave an epoch without a batch; this many in a row is a mistake.
_MAX_EMPTY_EPOCHS = 20
_MANY_DROPPED = 0.1


class NoDuplicatesBatchSampler(torch.utils.data.Sampler[list[SampleKey]]):
    """Batches of (epoch, index) keys, each process's slice of a global batch that is a function of (seed, step) only.

    Each epoch is a seeded permutation, packed by `pack_batches`; what does not fit is dropped, counted in
    `dropped_by_epoch` and logged. Neither the number of processes nor where a run resumes changes a global batch.
    Give it to a DataLoader as `batch_sampler` and do not shard it again.

    Args:
        num_samples: size of the dataset.
        duplicate_keys: (epoch, index) -> the keys that no two samples of a batch may share.
        batch_size: size of the GLOBAL batch.
        num_steps: number of steps of the whole run.
        seed: the run's seed.
        first_step: the step to start from when a run resumes. Earlier epochs are packed again, to count their batches.
        process_index, num_processes: this process and how many there are.

    Raises:
        ValueError: a batch cannot be filled from the samples, or the numbers contradict each other.
    """

    def __init__(
        self,
        num_samples: int,
        duplicate_keys: Callable[[int, int], Sequence[str]],
        batch_size: int,
        num_steps: int,
        seed: int = 0,
        first_step: int = 0,
        process_index: int = 0,
        num_processes: int = 1,
    ):
        if not 0 <= process_index < num_processes <= batch_size:
            raise ValueError(
                f"Each of {num_processes} processes needs a share of the global batch of {batch_size}, and "
                f"process_index {process_index} must be one of them"
            )
        if not 0 <= first_step <= num_steps:
            raise ValueError(f"first_step must be from 0 to num_steps ({num_steps}), got {first_step}")
        self.num_samples, self.duplicate_keys, self.batch_size = num_samples, duplicate_keys, batch_size
        self.num_steps, self.seed, self.first_step = num_steps, seed, first_step
        self.start = batch_size * process_index // num_processes
        self.stop = batch_size * (process_index + 1) // num_processes
        self.dropped_by_epoch: dict[int, int] = {}
        # Packed here as well, so that an impossible batch size fails before anything is trained.
        if not self._pack(0):
            largest = largest_batch(num_samples, lambda index: duplicate_keys(0, index))
            raise ValueError(
                f"batch_size {batch_size} is too large: of the {num_samples} samples only about {largest} can share a "
                "batch without sharing a concept or a caption"
            )
        if self.dropped_by_epoch[0] > num_samples * _MANY_DROPPED:
            logger.warning(
                "Batches of %d without duplicates leave out %d of the %d samples in the first epoch, others later",
                batch_size,
                self.dropped_by_epoch[0],
                num_samples,
            )

    def __len__(self) -> int:
        return self.num_steps - self.first_step

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for epoch, batch in self._global_batches():
            yield [(epoch, index) for index in batch[self.start : self.stop]]

    def _global_batches(self) -> Iterator[tuple[int, list[int]]]:
        step, epoch, empty = 0, 0, 0
        while step < self.num_steps:
            batches = self._pack(epoch)
            empty = 0 if batches else empty + 1
            if empty == _MAX_EMPTY_EPOCHS:
                raise ValueError(f"batch_size {self.batch_size} could not be filled in {empty} epochs up to {epoch}")
            for batch in batches[: self.num_steps - step]:
                if step >= self.first_step:
                    yield epoch, batch
                step += 1
            epoch += 1

    def _pack(self, epoch: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(sample_seed(self.seed, epoch, -1) >> 1)
        permutation = torch.randperm(self.num_samples, generator=generator).tolist()
        batches = pack_batches(permutation, lambda index: self.duplicate_keys(epoch, index), self.batch_size)
        if epoch not in self.dropped_by_epoch:
            dropped = self.dropped_by_epoch[epoch] = self.num_samples - len(batches) * self.batch_size
            logger.info("Epoch %d: %d batches, %d samples dropped", epoch, len(batches), dropped)
        return batches


def pack_batches(indices: Sequence[int], keys_of: Callable[[int], Sequence[str]], batch_size: int) -> list[list[int]]:
    """Pack samples into full batches in which no key occurs twice.

    Each sample goes to the first batch with room that lies behind every batch its keys are in: an earlier sample of
    the same concept thus pushes it on by a batch, and it is tried nowhere twice. Linear in the number of samples.

    Args:
        indices: the samples in the epoch's order.
        keys_of: the keys of a sample; no two samples of a batch share one.
        batch_size: size of each batch.

    Returns:
        list of lists of `batch_size` indices; samples of batches that did not fill up are left out.
    """
    num_batches = len(indices) // batch_size
    batches: list[list[int]] = [[] for _ in range(num_batches)]
    last: dict[str, int] = {}
    # room[b]: a batch at or behind b that may have room (num_batches: none), followed with path halving.
    room = list(range(num_batches + 1))
    for index in indices:
        keys = keys_of(index)
        place = 0
        for key in keys:
            behind = last.get(key, -1) + 1
            if behind > place:
                place = behind
        while room[place] != place:
            room[place] = room[room[place]]
            place = room[place]
        if place == num_batches:
            continue
        batch = batches[place]
        batch.append(index)
        if len(batch) == batch_size:
            room[place] = place + 1
        for key in keys:
            last[key] = place
    return [batch for batch in batches if len(batch) == batch_size]


def largest_batch(num_samples: int, keys_of: Callable[[int], Sequence[str]]) -> int:
    """How many samples a greedy pass puts into one batch without a shared key."""
    taken: set[str] = set()
    count = 0
    for index in range(num_samples):
        keys = keys_of(index)
        if taken.isdisjoint(keys):
            taken.update(keys)
            count += 1
    return count
