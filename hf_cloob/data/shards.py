# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What a stream reads from: a source is a number of shards, each a sequence of encoded pairs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from .bad_samples import BadSample, Patience


@dataclass(slots=True)
class EncodedPair:
    """A pair as it lies in its source: nothing is decoded before it is drawn.

    Args:
        image: the encoded picture, or the path of its file; None where there is none.
        captions: at least one, clean.
        place: where the pair is, for messages: "shard.tar/000123".
        number: of the pair in its source, where its place in a shard changes from epoch to epoch.
    """

    image: bytes | str
    captions: list[str]
    place: str
    number: int | None = None


class Source(Protocol):
    """A number of shards that are read from their beginning, in any order, any number of times.

    A shard's sequence is the same at each reading in one epoch, bad samples included: a position in it is a number of
    items.
    """

    num_shards: int
    name: str

    def read(self, shard: int, epoch: int) -> Iterator[EncodedPair | BadSample]:
        """The pairs of one shard; what cannot be used is yielded, not raised."""
        ...

    def hold_out(self, size: int) -> list[EncodedPair]:
        """Take the first pairs of the source out of it, for evaluation: `read` gives them no more."""
        ...


class HeldOutRows:
    """What most sources do with `hold_out`: the first items of the first shards are skipped."""

    num_shards: int
    name: str

    def __init__(self):
        self.num_held_out: dict[int, int] = {}

    def hold_out(self, size: int) -> list[EncodedPair]:
        """See `Source`."""
        pairs: list[EncodedPair] = []
        patience = Patience(self.name)
        for shard in range(self.num_shards):
            for number, item in enumerate(self.read_all(shard), start=1):
                if len(pairs) == size:
                    return pairs
                self.num_held_out[shard] = number
                patience.see(item if isinstance(item, BadSample) else None)
                if isinstance(item, EncodedPair):
                    pairs.append(item)
        return pairs

    def read(self, shard: int, epoch: int) -> Iterator[EncodedPair | BadSample]:
        """See `Source`."""
        first = self.num_held_out.get(shard, 0)
        return (item for number, item in enumerate(self.read_all(shard)) if number >= first)

    def read_all(self, shard: int) -> Iterator[EncodedPair | BadSample]:
        """The shard with what is held out."""
        raise NotImplementedError
