# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What every image-text pair says about the geometry of the embeddings: one pass over all scores, block by block."""

import torch
from tqdm.auto import tqdm

from ..blockwise_products import score_block
from .ranking import TIE_TOLERANCE, check_embeds, check_positive

# Squares of 16 MB: selecting the best of a block's rows costs the less the longer they are.
BLOCK_SIZE = 2048
# Rows that become float64 at once.
ROWS_AT_ONCE = 4096


@torch.no_grad()
def pair_statistics(
    image_embeds: torch.Tensor, text_embeds: torch.Tensor, k: int = 10, show_progress: bool = False
) -> dict[str, torch.Tensor]:
    """One number a pair for every figure of the geometry, so that figures and their intervals are means over pairs.

    With N pairs (x_i, y_i), K(a, b) = exp(-2 ||a - b||^2), and a pair's mean over the N - 1 others:

        squared_distance    ||x_i - y_i||^2
        matched_cosine      <x_i, y_i>
        mismatched_cosine   mean_{j != i} (<x_i, y_j> + <x_j, y_i>) / 2
        image_cosine        mean_{j != i} <x_i, x_j>                      text_cosine alike
        image_potential     mean_{j != i} K(x_i, x_j)                     text_potential alike
        cross_potential     mean_{j != i} (K(x_i, y_j) + K(x_j, y_i)) / 2
        image_rank          how many other texts score at least <x_i, y_i> with x_i;   text_rank: other images with y_i
        image_occurrences   for how many texts x_i is among the k images of highest cosine;   text_occurrences alike

    In a rank a tie (scores within 1e-6) counts against the model, as everywhere here; among neighbors it is broken
    arbitrarily. Captions that several images share count as different ones.

    Args:
        image_embeds: (num_pairs, projection_dim), rows L2-normalized; more than k pairs.
        text_embeds: (num_pairs, projection_dim), rows L2-normalized; row i belongs to image i.
        k: neighbors of the occurrences.
        show_progress: show a progress bar.

    Returns:
        Names as above, (num_pairs,) float64 each, on the CPU.

    Raises:
        ValueError: embeddings of different shapes, not finite or not normalized; no more than k pairs.
    """
    check_positive(k=k)
    image_embeds, text_embeds = check_embeds("image_embeds", image_embeds), check_embeds("text_embeds", text_embeds)
    text_embeds = text_embeds.to(image_embeds)
    if image_embeds.shape != text_embeds.shape:
        raise ValueError(
            f"image_embeds and text_embeds must be pairs; got {tuple(image_embeds.shape)} and "
            f"{tuple(text_embeds.shape)}."
        )
    if len(image_embeds) <= k:
        raise ValueError(f"{k} neighbors need more than {k} pairs; got {len(image_embeds)}.")
    found = _cosines(image_embeds, text_embeds)
    own = found["matched_cosine"].to(image_embeds.dtype)
    # Autocast would score in half precision.
    with (
        torch.autocast(image_embeds.device.type, enabled=False),
        tqdm(total=3 * len(image_embeds), desc="Comparing pairs", disable=not show_progress, leave=False) as progress,
    ):
        found |= _across(image_embeds, text_embeds, own, k, progress)
        found["image_potential"] = _within(image_embeds, progress)
        found["text_potential"] = _within(text_embeds, progress)
    return {name: values.double().cpu() for name, values in found.items()}


def _cosines(image_embeds: torch.Tensor, text_embeds: torch.Tensor) -> dict[str, torch.Tensor]:
    """The statistics that are linear in the scores: sums of embeddings give them without any product of all pairs."""
    image_sum, text_sum = (embeds.sum(dim=0, dtype=torch.float64) for embeds in (image_embeds, text_embeds))
    others = len(image_embeds) - 1
    parts = []
    for x, y in zip(image_embeds.split(ROWS_AT_ONCE), text_embeds.split(ROWS_AT_ONCE), strict=True):
        x, y = x.double(), y.double()
        matched = torch.linalg.vecdot(x, y)
        parts.append(
            {
                "squared_distance": (x - y).square().sum(dim=1),
                "matched_cosine": matched,
                "mismatched_cosine": (x @ text_sum + y @ image_sum - 2 * matched) / (2 * others),
                "image_cosine": (x @ image_sum - x.square().sum(dim=1)) / others,
                "text_cosine": (y @ text_sum - y.square().sum(dim=1)) / others,
            }
        )
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _across(
    image_embeds: torch.Tensor, text_embeds: torch.Tensor, own: torch.Tensor, k: int, progress: tqdm
) -> dict[str, torch.Tensor]:
    """Ranks, neighbors and potentials between images and texts: one product of a block serves both directions."""
    length, device = len(image_embeds), image_embeds.device
    potentials = torch.zeros(length, dtype=torch.float64, device=device)
    # Each meets its own pair, which does not count.
    image_rank, text_rank = torch.full((2, length), -1, dtype=torch.int64, device=device)
    text_occurrences = torch.zeros(length, dtype=torch.int64, device=device)
    nearest_images = _Nearest(length, k, image_embeds)
    for images in _ranges(length):
        nearest_texts = _Nearest(images.stop - images.start, k, image_embeds)
        for texts in _ranges(length):
            scores = score_block(image_embeds[images], text_embeds[texts])
            if images == texts:
                # The last bits of the product must not put a pair behind itself.
                scores.diagonal().copy_(own[images])
            image_rank[images] += (scores >= own[images, None] - TIE_TOLERANCE).sum(dim=1, dtype=torch.int32)
            text_rank[texts] += (scores >= own[None, texts] - TIE_TOLERANCE).sum(dim=0, dtype=torch.int32)
            nearest_texts.add(slice(None), scores, texts.start)
            nearest_images.add(texts, scores.T.contiguous(), images.start)
            kernel = scores.sub_(1).mul_(4).exp_()
            if images == texts:
                kernel.fill_diagonal_(0)
            potentials[images] += kernel.sum(dim=1)
            potentials[texts] += kernel.sum(dim=0)
        text_occurrences += torch.bincount(nearest_texts.rows.flatten(), minlength=length)
        progress.update(images.stop - images.start)
    return {
        "cross_potential": potentials / (2 * (length - 1)),
        "image_rank": image_rank,
        "text_rank": text_rank,
        "image_occurrences": torch.bincount(nearest_images.rows.flatten(), minlength=length),
        "text_occurrences": text_occurrences,
    }


def _within(embeds: torch.Tensor, progress: tqdm) -> torch.Tensor:
    """Every row's mean potential with the others of its modality; of the symmetric blocks half is formed."""
    length = len(embeds)
    potentials = torch.zeros(length, dtype=torch.float64, device=embeds.device)
    for rows in _ranges(length):
        for columns in _ranges(length, rows.start):
            kernel = score_block(embeds[rows], embeds[columns]).sub_(1).mul_(4).exp_()
            if rows == columns:
                kernel.fill_diagonal_(0)
            else:
                potentials[columns] += kernel.sum(dim=0)
            potentials[rows] += kernel.sum(dim=1)
        progress.update(rows.stop - rows.start)
    return potentials / (length - 1)


class _Nearest:
    """The k highest scores of every query so far, and the rows that have them."""

    def __init__(self, num_queries: int, k: int, like: torch.Tensor):
        self.scores = like.new_full((num_queries, k), -torch.inf)
        self.rows = torch.zeros(num_queries, k, dtype=torch.int64, device=like.device)

    def add(self, queries: slice, scores: torch.Tensor, first_row: int) -> None:
        """Scores of some queries with consecutive rows, (num_queries, num_rows)."""
        k = self.scores.shape[1]
        best, rows = scores.topk(min(k, scores.shape[1]), dim=1)
        best = torch.cat([self.scores[queries], best], dim=1)
        rows = torch.cat([self.rows[queries], rows + first_row], dim=1)
        self.scores[queries], order = best.topk(k, dim=1)
        self.rows[queries] = rows.gather(1, order)


def _ranges(length: int, start: int = 0) -> list[slice]:
    return [slice(first, min(first + BLOCK_SIZE, length)) for first in range(start, length, BLOCK_SIZE)]
