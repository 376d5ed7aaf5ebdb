# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Batches out of shards, as many on every process, in an order that neither processes nor workers change."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from PIL import Image

from .bad_samples import BadSample, Patience, Tally
from .image_decoding import decode_image
from .pairs import SampleKey
from .shards import Source
from .stream_lane import StreamLane

# (RGB picture, caption, (epoch, index)) -> the sample that the collator takes, as `SampleMaker` makes it.
MakeSample = Callable[[Image.Image, str, SampleKey], dict[str, Any]]


class PairStream(torch.utils.data.IterableDataset):
    """Global batches of image-text pairs, each process's rows of them, read from shards by `StreamLane`s.

    The rows of a global batch are cut into `num_blocks` blocks, and block b of step s comes from lane
    b + num_blocks · (s mod num_phases). A process has a range of the blocks, a worker every n-th step: so a lane
    belongs to one worker of one process, and the global order depends on seed, blocks and phases only. Lanes have no
    end, and a picture that cannot be decoded is replaced from the lane's buffer: every process yields `num_steps`
    full batches. Give it to a DataLoader with `batch_size=None`, and do not shard it again.

    Args:
        sources: what to read.
        make_sample: see `MakeSample`.
        collate: samples to a batch.
        batch_size: size of the GLOBAL batch.
        num_steps: number of batches of the whole run.
        weights: shares of the sources; equal by default.
        seed: the run's seed.
        num_blocks: a multiple of the number of processes, of every one that the run is ever to go on with.
        num_phases: a multiple of the number of workers.
        buffer_size: pairs that each of the num_blocks · num_phases lanes holds back, encoded.
        first_caption_share: as in `ImageTextPairs`.
        min_side: as in `decode_image`.
        first_step: the step to start from when a run goes on.
        positions: by lane, its last `stream_state`; needed with `first_step`.
        process_index, num_processes: this process and how many there are.

    Raises:
        ValueError: the numbers contradict each other.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        make_sample: MakeSample,
        collate: Callable[[list[dict[str, Any]]], dict[str, Any]],
        batch_size: int,
        num_steps: int,
        weights: Sequence[float] | None = None,
        seed: int = 0,
        num_blocks: int = 2,
        num_phases: int = 4,
        buffer_size: int = 1000,
        first_caption_share: float | None = None,
        min_side: int | None = None,
        first_step: int = 0,
        positions: dict[int, dict] | None = None,
        process_index: int = 0,
        num_processes: int = 1,
    ):
        weights = [1.0] * len(sources) if weights is None else list(weights)
        if not sources or len(weights) != len(sources) or min(weights) <= 0:
            raise ValueError(f"Each of the {len(sources)} sources needs one weight above 0, got {weights}")
        if num_blocks % num_processes or not num_blocks <= batch_size:
            raise ValueError(
                f"num_blocks must be a multiple of the {num_processes} processes and at most the batch size "
                f"{batch_size}, got {num_blocks}"
            )
        if not 0 <= first_step <= num_steps:
            raise ValueError(f"first_step must be from 0 to num_steps ({num_steps}), got {first_step}")
        self.sources, self.make_sample, self.collate, self.weights = sources, make_sample, collate, weights
        self.batch_size, self.num_steps, self.seed = batch_size, num_steps, seed
        self.num_blocks, self.num_phases, self.buffer_size = num_blocks, num_phases, buffer_size
        self.first_caption_share, self.min_side = first_caption_share, min_side
        self.first_step, self.positions = first_step, dict(positions or {})
        own = num_blocks // num_processes
        self.blocks = range(own * process_index, own * (process_index + 1))
        missing = [lane for lane in self._lanes_before(first_step) if lane not in self.positions]
        if missing:
            raise ValueError(f"Going on at step {first_step} needs the positions of the lanes {missing}")

    def __len__(self) -> int:
        return self.num_steps - self.first_step

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Batches of the collator, with more in them: see `_batch`."""
        worker = torch.utils.data.get_worker_info()
        offset, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        if self.num_phases % stride:
            raise ValueError(f"The {self.num_phases} phases of the stream must be a multiple of the {stride} workers")
        lanes: dict[int, StreamLane] = {}
        for step in range(self.first_step + offset, self.num_steps, stride):
            yield self._batch(step, lanes)

    def _batch(self, step: int, lanes: dict[int, StreamLane]) -> dict[str, Any]:
        """A batch; besides what `collate` returns:

        key: place of each pair. skipped: cause -> number of samples, since the lanes' last batch; skipped_at: cause ->
        the place of the first. false_negatives: see `StreamLane.draw`. stream_state: lane -> its state after this
        batch, from which a run goes on.
        """
        samples, bad, false_negatives, states, places = [], Tally(), Counter(), {}, []
        for block in self.blocks:
            number = block + self.num_blocks * (step % self.num_phases)
            lane = lanes[number] if number in lanes else lanes.setdefault(number, self._lane(number))
            start, stop = (self.batch_size * edge // self.num_blocks for edge in (block, block + 1))
            # The phase's own count: with the step itself a lane would always be asked for the same group.
            group, taken = (block + step // self.num_phases) % self.num_blocks, set()
            for _ in range(stop - start):
                sample, place = self._sample(lane, group, taken)
                samples.append(sample)
                places.append(place)
            for cause, count in lane.bad.counts.items():
                bad.counts[cause] += count
                bad.places.setdefault(cause, lane.bad.places[cause])
            lane.bad.take()
            false_negatives.update(lane.false_negatives)
            lane.false_negatives.clear()
            states[number] = lane.state
        skipped, skipped_at = bad.take()
        batch = self.collate(samples)
        extra = {"key": places, "skipped": skipped, "skipped_at": skipped_at, "stream_state": states}
        return batch | extra | {"false_negatives": dict(false_negatives)}

    def _sample(self, lane: StreamLane, group: int, taken: set[str]) -> tuple[dict[str, Any], str]:
        """A sample and its place; pictures that cannot be decoded are counted, and their captions free again."""
        patience = Patience("the stream")
        while True:
            entry = lane.draw(group, taken)
            try:
                image = decode_image(entry.pair.image, self.min_side)
            except BadSample as bad:
                taken.discard(entry.key)
                placed = BadSample(bad.cause, entry.pair.place)
                lane.bad.add(placed)
                patience.see(placed)
                continue
            sample = self.make_sample(image, entry.text, (entry.epoch, entry.index))
            return {**sample, "index": entry.index}, entry.pair.place

    def _lane(self, number: int) -> StreamLane:
        return StreamLane(
            self.sources,
            self.weights,
            number,
            self.num_blocks * self.num_phases,
            self.num_blocks,
            self._lane_buffer(),
            self.seed,
            self.first_caption_share,
            self.positions.get(number),
        )

    def _lane_buffer(self) -> int:
        """Room for two blocks of rows, and for no more than a lane's share of an epoch where that is known."""
        sizes = [getattr(source, "num_rows", None) for source in self.sources]
        share = self.buffer_size if None in sizes else sum(sizes) // (self.num_blocks * self.num_phases)
        return max(min(self.buffer_size, share), 2 * (self.batch_size // self.num_blocks + 1))

    def _lanes_before(self, step: int) -> list[int]:
        """Lanes of this process that have given a batch before a step."""
        phases = range(min(step, self.num_phases))
        return [block + self.num_blocks * phase for phase in phases for block in self.blocks]
