# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Regularizers that close the contrastive gap: alignment, uniformity and cross-modal uniformity.

They act on L2-normalized rows of the GLOBAL batch; a logarithm of a mean does not add up over processes. Squared
distances of unit vectors are written 2 - 2 <a, b>, so rows that are not normalized give wrong values.
"""

import math

import torch

from .validation import checked_finite, checked_pair, checked_scale, full_precision


def alignment_loss(image_embeds: torch.Tensor, text_embeds: torch.Tensor) -> torch.Tensor:
    """Mean squared distance of matched pairs.

        L = (1/N) sum_i ||x_i - y_i||^2

    Args:
        image_embeds: (batch_size, projection_dim), L2-normalized; one pair is enough.
        text_embeds: (batch_size, projection_dim), L2-normalized.

    Returns:
        0-d loss in [0, 4].

    Raises:
        ValueError: for unequal shapes, no pair at all or non-finite values.

    Source: Fahim, Murphy, Fyshe 2024 (arXiv 2405.18570), L_Align; Wang & Isola 2020.
    """
    image_embeds, text_embeds = checked_pair(image_embeds, text_embeds, minimum=1)
    with torch.autocast(image_embeds.device.type, enabled=False):
        return (image_embeds - text_embeds).square().sum(dim=1).mean()


def uniformity_loss(embeds: torch.Tensor, t: float = 2.0) -> torch.Tensor:
    """Log of the mean Gaussian potential between all different rows of one modality.

        U = log[ 2/(N(N-1)) sum_{i<j} exp(-t ||x_i - x_j||^2) ]

    Args:
        embeds: (batch_size, projection_dim), L2-normalized.
        t: width of the potential.

    Returns:
        0-d loss: 0 when all rows are equal, about -4 + 8/projection_dim for spread rows at t = 2.

    Raises:
        ValueError: for fewer than two rows, a shape that is not 2-d, non-finite values or an invalid `t`.

    Source: Wang & Isola 2020; Fahim, Murphy, Fyshe 2024 (arXiv 2405.18570), L_Uniform = (U(x) + U(y)) / 2.
    """
    if embeds.dim() != 2 or embeds.shape[0] < 2:
        raise ValueError(
            f"embeds must have the shape (batch_size, projection_dim), at least two rows, got {tuple(embeds.shape)}."
        )
    checked_finite(embeds, "embeds")
    (embeds,) = full_precision(embeds)
    return _log_mean_potential(embeds, embeds, t)


def cross_modal_uniformity_loss(image_embeds: torch.Tensor, text_embeds: torch.Tensor, t: float = 2.0) -> torch.Tensor:
    """Log of the mean Gaussian potential between images and the texts of OTHER pairs.

        XU = log[ 1/(N(N-1)) sum_{i != j} exp(-t ||x_i - y_j||^2) ]

    Args:
        image_embeds: (batch_size, projection_dim), L2-normalized.
        text_embeds: (batch_size, projection_dim), L2-normalized.
        t: width of the potential.

    Returns:
        0-d loss.

    Raises:
        ValueError: for fewer than two pairs, unequal shapes, non-finite values or an invalid `t`.

    Source: Fahim, Murphy, Fyshe 2024 (arXiv 2405.18570), L_XUniform; matched pairs are excluded.
    """
    image_embeds, text_embeds = checked_pair(image_embeds, text_embeds)
    return _log_mean_potential(image_embeds, text_embeds, t)


def _log_mean_potential(first: torch.Tensor, second: torch.Tensor, t: float) -> torch.Tensor:
    """log mean over i != j of exp(-t ||first_i - second_j||^2) for unit rows."""
    with torch.autocast(first.device.type, enabled=False):
        width = checked_scale(t, "t", first)
        own = torch.eye(len(first), dtype=torch.bool, device=first.device)
        exponents = (2 * width * (first @ second.T) - 2 * width).masked_fill(own, float("-inf"))
        return exponents.flatten().logsumexp(dim=0) - math.log(len(first) * (len(first) - 1))
