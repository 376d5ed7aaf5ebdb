# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Holding out: the first usable pairs, over shards, and bad ones between them are read no more either."""

import pytest

from hf_cloob.data.bad_samples import BadSample
from hf_cloob.data.shards import EncodedPair, HeldOutRows


class Counted(HeldOutRows):
    """Shards of whole numbers; every third is bad."""

    num_shards = 3
    name = "numbers"

    def read_all(self, shard):
        for number in range(4 * shard, 4 * shard + 4):
            yield BadSample("three", str(number)) if number % 3 == 2 else EncodedPair(b"", [str(number)], str(number))


def places(source):
    return [item.place for shard in range(3) for item in source.read(shard, 0)]


def test_exactly_so_many_pairs_are_held_out_and_the_rest_is_read():
    for size, first_left in ((0, 0), (2, 2), (3, 4), (8, 11), (20, 12)):
        source = Counted()
        held_out = source.hold_out(size)
        assert len(held_out) == min(size, 8)
        rest = places(source)
        assert {int(pair.place) for pair in held_out}.isdisjoint(map(int, rest))
        assert rest == [str(number) for number in range(first_left, 12)], size


class Bad(HeldOutRows):
    """A shard of bad samples without end."""

    num_shards = 1
    name = "a wrong column"

    def read_all(self, shard):
        while True:
            yield BadSample("missing caption", "here")


def test_nothing_but_bad_samples_is_an_error_and_not_read_to_the_end():
    with pytest.raises(ValueError, match=r"2000 pairs of a wrong column in a row .*: missing caption \(here\)"):
        Bad().hold_out(1)
