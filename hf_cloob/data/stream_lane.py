# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""One lane of a stream: every n-th shard of each epoch, through a shuffle buffer, without duplicates in a batch."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import torch

from .bad_samples import BadSample, Patience, Tally
from .pairs import drawn_caption, normalize_caption, sample_seed
from .shards import EncodedPair, Source

# Apart from every epoch's and sample's: streams of random numbers of a lane.
_SOURCE_DRAWS, _BUFFER_DRAWS, _SHARD_DRAWS = -1_000_000, -2_000_000, -3_000_000
_SOURCE_SHIFT, _SHARD_SHIFT = 56, 32


@dataclass(slots=True)
class BufferedPair:
    """A pair in the buffer, with where it came from.

    Args:
        source: number of its source.
        card: which of the shards dealt to this lane it is from.
        row: its place in the shard.
        index: (source, shard, row) in 64 bits, the same in every epoch.
        epoch: of its source.
        text: the caption that this epoch draws.
        key: the caption as it is compared.
        hashed: a hash of it.
    """

    source: int
    card: int
    row: int
    index: int
    epoch: int
    pair: EncodedPair
    text: str
    key: str
    hashed: int


class StreamLane:
    """Reads its share of every source and gives out batches' rows in a seeded random order.

    Shards are dealt like cards: the epochs' shuffled shards, one after the other, go round over all lanes. So every
    shard is read once an epoch, by one lane, whatever their number; a lane has no end. Where there are fewer shards
    than lanes, each shard is dealt in parts, and part p of P has the rows p, p + P, ...

    All choices are functions of the seed and of counts, so the whole state is a few integers.

    Args:
        sources: what to read, at least one.
        weights: a source's share of the pairs, in proportion.
        number, num_lanes: this lane and how many there are.
        num_groups: lanes that give rows to one global batch. At any time each is to give out another group of captions
            (by a hash of them): so no two lanes give out the same caption, without a word between them.
        buffer_size: pairs held back, encoded.
        seed: the run's seed.
        first_caption_share: as in `ImageTextPairs`.
        state: go on from here; see `state`.

    Raises:
        ValueError: a whole pass over a source finds no pair that can be used.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        weights: Sequence[float],
        number: int,
        num_lanes: int,
        num_groups: int,
        buffer_size: int,
        seed: int,
        first_caption_share: float | None = None,
        state: dict | None = None,
    ):
        self.sources, self.weights, self.number, self.num_lanes = sources, weights, number, num_lanes
        self.num_groups, self.buffer_size, self.seed = num_groups, buffer_size, seed
        self.first_caption_share = first_caption_share
        self.bad, self.false_negatives = Tally(), Counter()
        self.buffer: list[BufferedPair] = []
        self.num_reads = self.num_draws = 0
        self._orders: dict[int, tuple[int, list[int]]] = {}
        self.positions = [(0, 0)] * len(sources)
        if state is not None:
            self.positions = [tuple(position) for position in np.asarray(state["positions"]).tolist()]
            self.num_reads, self.num_draws = np.asarray(state["counts"]).tolist()
            self._refill(np.asarray(state["buffer"]).tolist())
        self._readers = [self._items(source, *start) for source, start in enumerate(self.positions)]
        self._patience = [Patience(source.name) for source in sources]
        self._last_good = [card for card, _ in self.positions]

    @property
    def state(self) -> dict[str, np.ndarray]:
        """What the lane's future depends on: the next item of each source, two counters, the buffer's contents."""
        buffer = [(entry.source, entry.card, entry.row) for entry in self.buffer]
        return {
            "positions": np.array(self.positions, dtype=np.int64),
            "counts": np.array([self.num_reads, self.num_draws], dtype=np.int64),
            "buffer": np.array(buffer, dtype=np.int64).reshape(len(buffer), 3),
        }

    def draw(self, group: int, taken: set[str]) -> BufferedPair:
        """Take a pair out of the buffer: of the group, with a caption that is not taken, where there is one.

        A caption that the batch has already stays for a later one (`false_negatives["deferred"]` counts how often).
        If no other is left in the group, another group gives (`"other_group"`: another lane may have given the same
        caption); if there is no other caption at all, one comes twice (`"let_through"`): no pair is ever lost.
        """
        self._fill()
        self.num_draws += 1
        size = len(self.buffer)
        start = sample_seed(self.seed, _BUFFER_DRAWS - self.number, self.num_draws) % size
        any_group = None
        for place in range(start, start + size):
            entry = self.buffer[place % size]
            in_group = self.num_groups == 1 or entry.hashed % self.num_groups == group
            if entry.key in taken:
                self.false_negatives["deferred"] += in_group
            elif in_group:
                return self._take(place % size, taken)
            elif any_group is None:
                any_group = place % size
        self.false_negatives["let_through" if any_group is None else "other_group"] += 1
        return self._take(start if any_group is None else any_group, taken)

    def _take(self, place: int, taken: set[str]) -> BufferedPair:
        entry, last = self.buffer[place], self.buffer.pop()
        if entry is not last:
            self.buffer[place] = last
        taken.add(entry.key)
        return entry

    def _fill(self) -> None:
        while len(self.buffer) < self.buffer_size:
            source = self._next_source()
            card, row, item = next(self._readers[source])
            self.positions[source] = (card, row + 1)
            self.num_reads += 1
            self._patience[source].see(item if isinstance(item, BadSample) else None)
            if isinstance(item, EncodedPair):
                self._last_good[source] = card
                self.buffer.append(self._entry(source, card, row, item))
                continue
            self.bad.add(item)
            if card - self._last_good[source] > self._deck(source)[0]:
                counts, places = self.bad.take()
                raise ValueError(f"No pair of {self.sources[source].name} can be used: {counts}, first {places}")

    def _next_source(self) -> int:
        if len(self.sources) == 1:
            return 0
        share = sample_seed(self.seed, _SOURCE_DRAWS - self.number, self.num_reads) / 2**64 * sum(self.weights)
        for source, weight in enumerate(self.weights):
            share -= weight
            if share < 0:
                return source
        return len(self.weights) - 1

    def _deck(self, source: int) -> tuple[int, int]:
        """Cards of an epoch, and into how many parts each shard is dealt."""
        num_shards = self.sources[source].num_shards
        parts = -(-self.num_lanes // num_shards) if num_shards < self.num_lanes else 1
        return num_shards * parts, parts

    def _card(self, source: int, card: int) -> tuple[int, int, int, int]:
        """Epoch, shard, part and number of parts of the card-th card that this lane is dealt."""
        num_cards, parts = self._deck(source)
        epoch, place = divmod(self.number + card * self.num_lanes, num_cards)
        if self._orders.get(source, (-1, []))[0] != epoch:
            generator = torch.Generator().manual_seed(sample_seed(self.seed, epoch, _SHARD_DRAWS - source) >> 1)
            self._orders[source] = epoch, torch.randperm(num_cards, generator=generator).tolist()
        shard, part = divmod(self._orders[source][1][place], parts)
        return epoch, shard, part, parts

    def _items(self, source: int, card: int, row: int) -> Iterator[tuple[int, int, EncodedPair | BadSample]]:
        """Card, row and item from one item on, without end."""
        empty = 0
        while True:
            epoch, shard, part, parts = self._card(source, card)
            for number, item in enumerate(self.sources[source].read(shard, epoch)):
                if number % parts == part and number >= row:
                    empty = 0
                    yield card, number, item
            card, row, empty = card + 1, 0, empty + 1
            if empty > 2 * self._deck(source)[0]:
                raise ValueError(f"{self.sources[source].name} holds no pair")

    def _entry(self, source: int, card: int, row: int, pair: EncodedPair) -> BufferedPair:
        epoch, shard, _, _ = self._card(source, card)
        in_source = shard << _SHARD_SHIFT | row if pair.number is None else pair.number
        index = source << _SOURCE_SHIFT | in_source
        mixed = sample_seed(self.seed, epoch, index)
        text = pair.captions[drawn_caption(len(pair.captions), mixed, self.first_caption_share)]
        key = normalize_caption(text)
        return BufferedPair(source, card, row, index, epoch, pair, text, key, crc32(key.encode()))

    def _refill(self, origins: list[list[int]]) -> None:
        """Read again what the buffer held, in its order; what was bad then was counted then."""
        wanted: dict[tuple[int, int], dict[int, int]] = {}
        for place, (source, card, row) in enumerate(origins):
            wanted.setdefault((source, card), {})[row] = place
        found: dict[int, BufferedPair] = {}
        for (source, card), rows in wanted.items():
            last = max(rows)
            for own_card, row, item in self._items(source, card, 0):
                if own_card == card and row in rows and isinstance(item, EncodedPair):
                    found[rows[row]] = self._entry(source, card, row, item)
                if own_card > card or row >= last:
                    break
        if len(found) < len(origins):
            raise ValueError(
                f"{len(origins) - len(found)} of the {len(origins)} pairs in the buffer of the checkpoint are not "
                "where they were: the training files have changed"
            )
        self.buffer = [found[place] for place in range(len(origins))]
