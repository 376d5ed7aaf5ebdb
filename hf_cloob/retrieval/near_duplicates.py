# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Entries of a memory that show almost the same picture as a query: what tests and training must not find."""

import torch
from torch.nn import functional as F

from ..reco_memory import RecoMemory

DEFAULT_THRESHOLD = 0.95
# Above it rounding decides: with a float16 key the cosine of a picture with itself is 1 +- 0.001, and a query's last
# bits depend on the batch that it was embedded in.
LARGEST_RELIABLE_THRESHOLD = 0.999


def near_duplicates(
    memory: RecoMemory, image_embeds: torch.Tensor, threshold: float = DEFAULT_THRESHOLD, batch_size: int = 1024
) -> torch.Tensor:
    """Ids of all entries whose picture is as similar to a query's as `threshold`, for each query.

    The result is an `exclude_ids` for the same queries, and their union is what a test set must not find.

    Args:
        memory: the memory.
        image_embeds: (n, projection_dim) of the memory's encoder, L2-normalized.
        threshold: least cosine of two pictures that count as the same. What is right depends on the encoder: look at
            pairs around it. Above 0.999 it may miss the very same picture, because keys are kept in float16.
        batch_size: queries searched at once.

    Returns:
        (n, e) int64, nearest first, filled up with -1; e is the largest number that a query has, and may be 0.

    Raises:
        ValueError: for a threshold outside (-1, 1], no query, or as `RecoMemory.retrieve_for_images`.
    """
    if not len(image_embeds):
        raise ValueError("image_embeds is empty: near-duplicates are looked for one query at least.")
    if not -1 < threshold <= 1:
        raise ValueError(f"threshold is a cosine and must be above -1 and at most 1, got {threshold}.")
    found = [_found(memory, queries, threshold) for queries in image_embeds.split(batch_size)]
    widest = max(ids.shape[1] for ids in found)
    return torch.cat([F.pad(ids, (0, widest - ids.shape[1]), value=-1) for ids in found])


def remove_near_duplicates(
    memory: RecoMemory, image_embeds: torch.Tensor, threshold: float = DEFAULT_THRESHOLD
) -> torch.Tensor:
    """Remove from a memory what is nearly the same picture as one of a test set; return the removed ids, ascending.

    Args and errors as `near_duplicates`; also ValueError if no entry would be left.
    """
    ids = near_duplicates(memory, image_embeds, threshold)
    removed = ids[ids >= 0].unique()
    if len(removed):
        memory.remove(removed)
    return removed


def _found(memory: RecoMemory, queries: torch.Tensor, threshold: float) -> torch.Tensor:
    """(n, e) for some queries, e as small as it can be."""
    k = 8
    while True:
        neighbors = memory.retrieve_for_images(queries, min(k, len(memory)), exact=True)
        close = neighbors.scores >= threshold
        # Scores fall from left to right: where the last one is below the threshold, all have been found.
        if not close[:, -1].any() or k >= len(memory):
            return neighbors.ids.masked_fill(~close, -1)[:, : int(close.sum(dim=1).max())]
        k *= 4
