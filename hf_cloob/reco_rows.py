# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The rows of a memory: blocks that are only ever appended, and which of their rows have been removed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch


@dataclass
class RowBlock:
    """Rows that came together.

    Args:
        image_embeds: (rows, projection_dim).
        text_embeds: (rows, projection_dim).
        ids: (rows,) int64.
        captions: a string or None for each row.
    """

    image_embeds: torch.Tensor
    text_embeds: torch.Tensor
    ids: torch.Tensor
    captions: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> "RowBlock":
        """The block on another device."""
        tensors = (tensor.to(device) for tensor in (self.image_embeds, self.text_embeds, self.ids))
        return RowBlock(*tensors, self.captions)

    def keep(self, kept: torch.Tensor) -> "RowBlock":
        """The block's rows where `kept` (rows,) is True, copied; captions are read when they are asked for."""
        captions = _KeptCaptions(self.captions, kept.nonzero().flatten().tolist())
        return RowBlock(self.image_embeds[kept], self.text_embeds[kept], self.ids[kept], captions)


class _KeptCaptions(Sequence):
    """Some of the captions of a block."""

    def __init__(self, captions: Sequence[str | None], rows: list[int]):
        self._captions, self._rows = captions, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> str | None:
        return self._captions[self._rows[row]]


class MemoryRows:
    """Rows, counted over all blocks, found by their ids.

    A row keeps its number as long as it exists, and adding or removing others neither copies nor moves it. So what
    was computed from it does not change, and a memory-mapped block stays on disk.
    """

    def __init__(self, block: RowBlock):
        self.blocks = [block]
        self.ids = block.ids
        # Ascending numbers of the rows that are no longer there.
        self.removed = block.ids.new_empty(0)
        self._sorted: tuple[torch.Tensor, torch.Tensor] | None = None

    def __len__(self) -> int:
        return len(self.ids) - len(self.removed)

    def to(self, device: torch.device | str) -> None:
        """Move all blocks."""
        self.blocks = [block.to(device) for block in self.blocks]
        self.ids, self.removed, self._sorted = self.ids.to(device), self.removed.to(device), None

    def append(self, blocks: Sequence[RowBlock]) -> None:
        """Add blocks, whose ids must be new.

        Raises:
            ValueError: naming ids that are there already.
        """
        ids = torch.cat([block.ids for block in blocks])
        if (known := self.has(ids)).any():
            raise ValueError(
                f"{int(known.sum())} of {len(ids)} ids are in the memory already, the first are "
                f"{ids[known][:5].tolist()}: give the entries other ids."
            )
        self.blocks += blocks
        self.ids, self._sorted = torch.cat([self.ids, ids]), None

    def remove(self, rows: torch.Tensor) -> None:
        """Mark rows as removed, and forget blocks of which no row is left, if nothing follows them."""
        self.removed, self._sorted = torch.cat([self.removed, rows]).sort().values, None
        while True:
            start = len(self.ids) - len(self.blocks[-1])
            if len(self.removed) - int(torch.searchsorted(self.removed, start)) < len(self.blocks[-1]):
                return
            self.blocks.pop()
            self.ids, self.removed = self.ids[:start], self.removed[self.removed < start]

    def has(self, ids: torch.Tensor) -> torch.Tensor:
        """Which of the ids (n,) are there, (n,) bool."""
        values, _ = self._by_id()
        return values[torch.searchsorted(values, ids).clamp(max=len(values) - 1)] == ids

    def of(self, ids: torch.Tensor) -> torch.Tensor:
        """Rows of ids, (n,) -> (n,).

        Raises:
            ValueError: naming ids that are not there.
        """
        if not (known := self.has(ids)).all():
            raise ValueError(
                f"{int((~known).sum())} of {len(ids)} ids are not in the memory, the first are "
                f"{ids[~known][:5].tolist()}."
            )
        values, rows = self._by_id()
        return rows[torch.searchsorted(values, ids)]

    def remaining(self) -> list[RowBlock]:
        """The blocks without their removed rows; only those that lost some are copied."""
        blocks, start = [], 0
        for block in self.blocks:
            first, last = torch.searchsorted(self.removed, torch.tensor([start, start + len(block)]).to(self.removed))
            if first == last:
                blocks.append(block)
            elif last - first < len(block):
                kept = torch.ones(len(block), dtype=torch.bool, device=block.ids.device)
                kept[self.removed[first:last] - start] = False
                blocks.append(block.keep(kept))
            start += len(block)
        return blocks

    def remaining_ids(self) -> torch.Tensor:
        """Ids of the rows that are there, in their order."""
        return self.ids[self._remaining_rows()] if len(self.removed) else self.ids

    def caption(self, row: int) -> str | None:
        """The caption of one row."""
        for block in self.blocks:
            if row < len(block):
                return block.captions[row]
            row -= len(block)
        raise IndexError(f"row {row} beyond the last block")

    def captions(self) -> Iterator[str | None]:
        """The captions of all rows that are there."""
        removed, row = set(self.removed.tolist()), 0
        for block in self.blocks:
            for caption in block.captions:
                if row not in removed:
                    yield caption
                row += 1

    def _by_id(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids in ascending order and their rows."""
        if self._sorted is None:
            rows = self._remaining_rows()
            values, order = self.ids[rows].sort()
            self._sorted = values, rows[order]
        return self._sorted

    def _remaining_rows(self) -> torch.Tensor:
        left = torch.ones(len(self.ids), dtype=torch.bool, device=self.ids.device)
        left[self.removed] = False
        return left.nonzero().flatten()
