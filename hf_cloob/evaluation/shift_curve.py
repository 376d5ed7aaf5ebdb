# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What the gap is worth: retrieval and loss while the modalities are moved along the vector between their centers."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import normalize

from ..losses_contrastive import clip_loss
from .ranking import check_embeds, check_same_dim
from .retrieval_metrics import recall_at_k

# Lengths of the shift in gaps: 0 is the model as it is, 1 lets the centers meet, 2 lets them change places.
SHIFTS_IN_GAPS = tuple(step / 8 for step in range(-4, 21))
# Models with a smaller gap are moved as if they had this one.
SMALLEST_GAP = 0.2


@dataclass(frozen=True)
class ShiftCurve:
    """A figure for each shift, (num_shifts,) each.

    Attributes:
        shifts: length of the shift; 0 is the model as it is.
        distances: signed distance of the centers along the gap vector afterwards; below 0 they have changed places.
        recalls: recall@1, mean of image to text and text to image.
        losses: InfoNCE, mean of both directions.
    """

    shifts: list[float]
    distances: list[float]
    recalls: list[float]
    losses: list[float]


@torch.no_grad()
def shift_curve(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    gap_vector: torch.Tensor,
    inverse_temperature: float,
    shifts: Sequence[float] | None = None,
) -> ShiftCurve:
    """Move each modality by half of every shift towards the other, and measure.

        x' = l2norm(x - s u / 2),   y' = l2norm(y + s u / 2),   u = g / ||g||,   g = mean x - mean y

    Args:
        image_embeds: (num_pairs, projection_dim), rows L2-normalized; at least two pairs.
        text_embeds: (num_pairs, projection_dim), rows L2-normalized; row i belongs to image i.
        gap_vector: (projection_dim,) g, of calibration pairs.
        inverse_temperature: t of the loss.
        shifts: values of s; None takes 25 from half a gap apart to one and a half beyond each other.

    Raises:
        ValueError: embeddings that are no pairs, not finite or not normalized; a gap_vector of another width.

    Source: Liang et al. 2022 (arXiv 2203.02053), who measure zero-shot classification; retrieval among the pairs needs
    no classes.
    """
    image_embeds, text_embeds = check_embeds("image_embeds", image_embeds), check_embeds("text_embeds", text_embeds)
    check_same_dim(image_embeds=image_embeds, text_embeds=text_embeds)
    if gap_vector.shape != image_embeds.shape[1:]:
        raise ValueError(f"gap_vector must be ({image_embeds.shape[1]},); got {tuple(gap_vector.shape)}.")
    text_embeds, gap_vector = text_embeds.to(image_embeds), gap_vector.to(image_embeds)
    direction, gap = normalize(gap_vector, dim=0), float(gap_vector.norm())
    if shifts is None:
        shifts = [share * max(gap, SMALLEST_GAP) for share in SHIFTS_IN_GAPS]
    rows = torch.arange(len(image_embeds))
    distances, recalls, losses = [], [], []
    for shift in shifts:
        images = normalize(image_embeds - shift / 2 * direction, dim=-1)
        texts = normalize(text_embeds + shift / 2 * direction, dim=-1)
        found = recall_at_k(images, texts, rows, (1,))
        distances.append(float((images.mean(dim=0) - texts.mean(dim=0)) @ direction))
        recalls.append(sum(found.values()) / len(found))
        losses.append(float(clip_loss(images, texts, inverse_temperature)))
    return ShiftCurve(list(shifts), distances, recalls, losses)
