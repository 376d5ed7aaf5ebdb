# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Datasets of the library datasets as sources of a stream: tables whose rows are shuffled, and streamed shards."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from .bad_samples import BadSample, Patience
from .pairs import sample_seed
from .shards import EncodedPair, HeldOutRows

if TYPE_CHECKING:
    import datasets
    import pyarrow

ROWS_PER_SHARD = 256
_ROWS_AT_ONCE = 64


class RowReader(Protocol):
    """Rows of a table to pairs."""

    def pairs(self, table: "pyarrow.Table", places: Sequence[str]) -> Iterator[EncodedPair | BadSample]:
        """One pair, or what is wrong with it, for each row; `places` name the rows."""
        ...


class TableRows:
    """A table on disk; each epoch deals its rows to the shards in another order, so that the shuffle is a full one.

    Args:
        dataset: rows that `reader` understands.
        reader: rows to pairs.
        name: what messages call the table.
        seed: of the epochs' orders.

    Raises:
        ValueError: the table is empty.
    """

    def __init__(self, dataset: "datasets.Dataset", reader: RowReader, name: str, seed: int = 0):
        if not len(dataset):
            raise ValueError(f"{name} has no rows")
        self.reader, self.table = reader, dataset.with_format("arrow")
        self.name, self.seed, self.num_held_out = name, seed, 0
        # Tables are often sorted: what is held out must not be the first class.
        self._rows = _permutation(len(dataset), seed, -1)
        self._epoch, self._order = -1, None

    @property
    def num_rows(self) -> int:
        """Rows that are not held out."""
        return len(self.table) - self.num_held_out

    @property
    def num_shards(self) -> int:
        """Pieces of at most `ROWS_PER_SHARD` rows."""
        return -(-self.num_rows // ROWS_PER_SHARD)

    def read(self, shard: int, epoch: int) -> Iterator[EncodedPair | BadSample]:
        """Every `num_shards`-th row of the epoch's order."""
        order = self._order_of(epoch)[shard :: self.num_shards]
        for start in range(0, len(order), _ROWS_AT_ONCE):
            rows = order[start : start + _ROWS_AT_ONCE].tolist()
            items = self.reader.pairs(self.table[rows], [f"{self.name}, row {row}" for row in rows])
            for row, item in zip(rows, items, strict=True):
                if isinstance(item, EncodedPair):
                    item.number = row
                yield item

    def hold_out(self, size: int) -> list[EncodedPair]:
        """See `Source`."""
        pairs: list[EncodedPair] = []
        patience = Patience(self.name)
        while len(pairs) < size and self.num_held_out < len(self.table):
            row = int(self._rows[self.num_held_out])
            (item,) = self.reader.pairs(self.table[[row]], [f"{self.name}, row {row}"])
            patience.see(item if isinstance(item, BadSample) else None)
            if isinstance(item, EncodedPair):
                pairs.append(item)
            self.num_held_out += 1
        return pairs

    def _order_of(self, epoch: int):
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = self._rows[self.num_held_out :][_permutation(self.num_rows, self.seed, epoch)]
        return self._order


class StreamedShards(HeldOutRows):
    """The shards of a dataset that is streamed: nothing is copied, each shard is read from its beginning.

    Args:
        dataset: what `load_dataset(..., streaming=True)` gives.
        reader: rows to pairs.
        name: what messages call the dataset.
    """

    def __init__(self, dataset: "datasets.IterableDataset", reader: RowReader, name: str):
        super().__init__()
        self.reader, self.dataset = reader, dataset.with_format("arrow")
        self.name, self.num_shards = name, dataset.num_shards

    def read_all(self, shard: int) -> Iterator[EncodedPair | BadSample]:
        """The rows of a shard; one that cannot be read to its end is one bad sample, the last."""
        own = self.dataset.shard(num_shards=self.num_shards, index=shard)
        first, place = 0, f"{self.name}, shard {shard}"
        try:
            for table in own.iter(batch_size=_ROWS_AT_ONCE):
                rows = range(first, first + len(table))
                yield from self.reader.pairs(table, [f"{place}, row {row}" for row in rows])
                first += len(table)
        except Exception as error:  # of arrow, of a remote file system, of a decompressor
            cause = "shard cut off" if first else "unreadable shard"
            yield BadSample(cause, f"{place}: {' '.join(str(error).split())[:200]}")


def _permutation(size: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng(sample_seed(seed, epoch, -2)).permutation(size)
