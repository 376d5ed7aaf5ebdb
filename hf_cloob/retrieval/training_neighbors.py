# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Neighbors for training: searched once for all pairs, without what would give the answer away.

The encoder is frozen, so a pair's neighbors never change. What a pair must not find is its own entry, and entries that
show nearly its picture: in both searches, for an entry's text answers the image and its image answers the text.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from ..reco_memory import RecoMemory, RecoNeighbors
from ..reco_memory_checks import NO_ENTRY
from .near_duplicates import DEFAULT_THRESHOLD

# Entries fetched beyond k at first: room for a pair's own entry and some near-duplicates.
SURPLUS = 8
# Pairs that are crowded by forbidden entries look four times as far each time, up to this many entries.
MAX_FETCHED = 4096
# Elements of fetched embeddings that are held at once, 128 MB in float32.
ELEMENTS = 2**25


class TrainingNeighbors(NamedTuple):
    """What pairs found, best first.

    Rows count the memory's entries in their order, so `memory.text_embeds[image_rows]` are the values that image
    queries found and `memory.image_embeds[text_rows]` those of the text queries; -1 where there was no further entry.

    Args:
        image_rows: (num_pairs, num_neighbors) int64, found by the pairs' images.
        image_scores: (num_pairs, num_neighbors) float32, cosines of images; -inf where there was no further entry.
        text_rows: (num_pairs, num_neighbors) int64, found by the pairs' texts.
        text_scores: (num_pairs, num_neighbors) float32, cosines of texts.
        near_duplicates: (num_pairs,) int64, entries that were left out because they show nearly the pair's picture,
            its own entry not counted.
    """

    image_rows: torch.Tensor
    image_scores: torch.Tensor
    text_rows: torch.Tensor
    text_scores: torch.Tensor
    near_duplicates: torch.Tensor


def find_training_neighbors(
    memory: RecoMemory,
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    k: int,
    own_ids: torch.Tensor | None = None,
    near_duplicate_threshold: float = DEFAULT_THRESHOLD,
) -> TrainingNeighbors:
    """Find every pair's k nearest entries on both sides, its own and near-duplicates of its picture excluded.

    As many entries are fetched as it takes to have k left, up to 4,096 for a query.

    Args:
        memory: the memory.
        image_embeds: (num_pairs, projection_dim) of the memory's encoder, L2-normalized.
        text_embeds: (num_pairs, projection_dim), row i belongs to image i.
        k: neighbors.
        own_ids: (num_pairs,) ids of the pairs' own entries, -1 for none; None if no pair is in the memory.
        near_duplicate_threshold: least cosine of two pictures that count as the same, see `near_duplicates`.

    Returns:
        [`TrainingNeighbors`]

    Raises:
        ValueError: for a threshold outside (-1, 1], unequal lengths, or as `RecoMemory.retrieve_for_images`.
    """
    if not -1 < near_duplicate_threshold <= 1:
        raise ValueError(
            f"near_duplicate_threshold is a cosine and must be above -1 and at most 1, got {near_duplicate_threshold}."
        )
    image_embeds, text_embeds = image_embeds.float(), text_embeds.float()
    if own_ids is None:
        own_ids = torch.full((len(image_embeds),), NO_ENTRY)
    lengths = len(image_embeds), len(text_embeds), len(own_ids)
    if len(set(lengths)) != 1:
        raise ValueError(f"image_embeds, text_embeds and own_ids must have equal lengths, got {lengths}.")
    near_duplicates = torch.zeros(len(image_embeds), dtype=torch.int64)

    def forbidden_for_images(pairs: torch.Tensor, found: RecoNeighbors) -> torch.Tensor:
        own = found.ids == own_ids[pairs, None]
        near = (found.scores >= near_duplicate_threshold) & ~own
        near_duplicates[pairs] = near.sum(dim=1)
        return own | near

    def forbidden_for_texts(pairs: torch.Tensor, found: RecoNeighbors) -> torch.Tensor:
        # What texts find are the entries' pictures, so here too pictures are compared.
        cosines = torch.einsum("nd,nkd->nk", image_embeds[pairs], found.embeds)
        return (found.ids == own_ids[pairs, None]) | (cosines >= near_duplicate_threshold)

    by_images = _search(memory, memory.retrieve_for_images, image_embeds, k, forbidden_for_images)
    by_texts = _search(memory, memory.retrieve_for_texts, text_embeds, k, forbidden_for_texts)
    return TrainingNeighbors(*by_images, *by_texts, near_duplicates)


def _search(
    memory: RecoMemory, retrieve: Callable, queries: torch.Tensor, k: int, forbidden: Callable
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and scores (num_pairs, k) of what is not forbidden; whoever found too little searches further."""
    ids = torch.full((len(queries), k), NO_ENTRY)
    scores = torch.full((len(queries), k), float("-inf"))
    furthest = min(len(memory), max(MAX_FETCHED, k + SURPLUS))
    fetched, unfinished = min(k + SURPLUS, furthest), torch.arange(len(queries))
    while len(unfinished):
        at_once = max(1, ELEMENTS // (fetched * memory.projection_dim))
        too_few = []
        for pairs in unfinished.split(at_once):
            found = retrieve(queries[pairs], fetched)
            left_out = forbidden(pairs, found) | ~found.mask
            # The others keep their order.
            order = left_out.to(torch.uint8).argsort(dim=1, stable=True)[:, :k]
            left_out_of_k = left_out.gather(1, order)
            ids[pairs, : order.shape[1]] = found.ids.gather(1, order).masked_fill(left_out_of_k, NO_ENTRY)
            scores[pairs, : order.shape[1]] = (
                found.scores.gather(1, order).masked_fill(left_out_of_k, float("-inf")).float()
            )
            too_few.append(pairs[(~left_out).sum(dim=1) < k])
        if fetched == furthest:
            break
        fetched, unfinished = min(4 * fetched, furthest), torch.cat(too_few)
    return _rows_of(memory, ids), scores


def _rows_of(memory: RecoMemory, ids: torch.Tensor) -> torch.Tensor:
    """Places of ids among the memory's entries; -1 for -1."""
    ascending, order = memory.ids.cpu().sort()
    rows = order[torch.searchsorted(ascending, ids).clamp(max=len(order) - 1)]
    return rows.masked_fill(ids == NO_ENTRY, NO_ENTRY)
