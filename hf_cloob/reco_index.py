# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""RecoIndex: what another library's index does for a memory, and how the memory uses it without trusting it."""

from typing import Protocol

import torch

from .reco_memory_checks import NO_ENTRY
from .reco_rows import MemoryRows
from .reco_search import gather_rows, score_rows

# Proposed beyond what is asked for: the memory's own scores decide among keys that a compressed index, or the last
# bits of a sum, put in another order.
SPARE_CANDIDATES = 32
# Keys of so many entries are compared with the memory's when an index is set. A byte a dimension, the coarsest that is
# of use, keeps them within a cosine of 0.999; an image and its text are never that near.
PROBES = 64
MIN_COSINE = 0.98


class RecoIndex(Protocol):
    """The keys of one side of a memory, images or texts, in a form that is searched without reading all of them.

    An index knows entries by the memory's ids and only proposes: the memory scores what it proposes with its own keys,
    so that an approximate or compressing index may miss a neighbor but never changes a score. All tensors that it
    gets are on the CPU, and so are those that it returns.
    """

    @property
    def projection_dim(self) -> int:
        """Width of the keys."""

    def __len__(self) -> int:
        """Number of entries."""

    def has(self, ids: torch.Tensor) -> torch.Tensor:
        """Which entries are there: ids (rows,) -> (rows,) bool."""

    def keys(self, ids: torch.Tensor) -> torch.Tensor:
        """The keys of entries that are there, as the index keeps them: ids (rows,) -> (rows, projection_dim)."""

    def search(self, queries: torch.Tensor, k: int) -> torch.Tensor:
        """Propose the k entries of largest inner products: (n, projection_dim) float32 -> (n, k) int64 ids.

        In any order, -1 where there is no further one. n and k are at least 1.
        """

    def add(self, keys: torch.Tensor, ids: torch.Tensor) -> None:
        """Add entries with keys (rows, projection_dim), floating point, and ids (rows,) that are new."""

    def remove(self, ids: torch.Tensor) -> None:
        """Forget the entries of ids (rows,)."""


def check_index(index: RecoIndex, rows: MemoryRows, side: str) -> None:
    """Raise ValueError for an index that was not made of these rows.

    Args:
        index: the index.
        rows: the memory's rows.
        side: "image_embeds" or "text_embeds", the keys that it must hold.
    """
    width = rows.blocks[0].image_embeds.shape[1]
    if index.projection_dim != width:
        raise ValueError(
            f"The index for {side} holds keys of {index.projection_dim} dimensions, those of the memory have {width}."
        )
    ids = rows.remaining_ids().cpu()
    if len(index) != len(ids):
        raise ValueError(
            f"The index for {side} holds {len(index)} entries, the memory {len(ids)}: build the index of this memory."
        )
    if not (known := index.has(ids)).all():
        raise ValueError(
            f"The index for {side} does not hold {int((~known).sum())} of the memory's {len(ids)} ids, the first are "
            f"{ids[~known][:5].tolist()}: build the index of this memory."
        )
    probed = ids[:: max(1, len(ids) // PROBES)].contiguous()
    expected = gather_rows([getattr(block, side) for block in rows.blocks], rows.of(probed.to(rows.ids.device)))
    cosines = torch.nn.functional.cosine_similarity(index.keys(probed).float(), expected.float().cpu())
    if not (same := cosines >= MIN_COSINE).all():
        raise ValueError(
            f"The index for {side} holds other embeddings under the memory's ids, for {int((~same).sum())} of "
            f"{len(probed)} entries that were compared: build the index of this memory's {side}."
        )


def indexed_search(
    index: RecoIndex, rows: MemoryRows, side: str, queries: torch.Tensor, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The best k of what an index proposes, scored as `reco_search.exact_search` scores.

    Args:
        index: the index.
        rows: the memory's rows.
        side: "image_embeds" or "text_embeds", the keys.
        queries: (n, projection_dim), on the device of the rows; n at least 1.
        k: neighbors wanted, at least 1.

    Returns:
        scores and rows, both (n, k), as `exact_search` returns them.

    Raises:
        ValueError: if the index proposes an entry that is not there, or a key is not finite.
    """
    proposed = index.search(queries.float().cpu().contiguous(), k + SPARE_CANDIDATES).to(queries.device)
    there = proposed != NO_ENTRY
    if not (known := rows.has(proposed[there])).all():
        raise ValueError(
            f"The index for {side} proposes entries that the memory does not have, such as "
            f"{proposed[there][~known][:5].tolist()}: it was changed without the memory. Build it again."
        )
    candidates = torch.full_like(proposed, -1)
    candidates[there] = rows.of(proposed[there])
    candidates = candidates.sort(dim=1).values
    repeated = candidates[:, 1:] == candidates[:, :-1]
    candidates[:, 1:][repeated] = -1
    return score_rows(queries, [getattr(block, side) for block in rows.blocks], candidates, k)


__all__ = ["RecoIndex", "check_index", "indexed_search"]
