# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Regularizers that close the contrastive gap: alignment, uniformity and cross-modal uniformity.

They act on L2-normalized rows of the GLOBAL batch; a logarithm of a mean does not add up over processes. Squared
distances of unit vectors are written 2 - 2 <a, b>, so rows that are not normalized give wrong values. Precision is as
in `losses_contrastive`, on a GPU too.
"""

import math

import torch

from .blockwise import ALL_BLOCKS, Blocks
from .blockwise_objectives import Contrast, differentiable
from .blockwise_retrieval import Exponentials, Shifts, is_small, shared_shift
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
    image_embeds, text_embeds = full_precision(*checked_pair(image_embeds, text_embeds, minimum=1))
    with torch.autocast(image_embeds.device.type, enabled=False):
        return (image_embeds - text_embeds).square().sum(dim=1).mean()


def uniformity_loss(embeds: torch.Tensor, t: float = 2.0, *, blocks: Blocks = ALL_BLOCKS) -> torch.Tensor:
    """Log of the mean Gaussian potential between all different rows of one modality.

        U = log[ 2/(N(N-1)) sum_{i<j} exp(-t ||x_i - x_j||^2) ]

    Args:
        embeds: (batch_size, projection_dim), L2-normalized.
        t: width of the potential.
        blocks: how the work is cut and shared, see `losses_contrastive`.

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
    return _log_mean_potential(embeds, t=t, blocks=blocks)


def cross_modal_uniformity_loss(
    image_embeds: torch.Tensor, text_embeds: torch.Tensor, t: float = 2.0, *, blocks: Blocks = ALL_BLOCKS
) -> torch.Tensor:
    """Log of the mean Gaussian potential between images and the texts of OTHER pairs.

        XU = log[ 1/(N(N-1)) sum_{i != j} exp(-t ||x_i - y_j||^2) ]

    Args:
        image_embeds: (batch_size, projection_dim), L2-normalized.
        text_embeds: (batch_size, projection_dim), L2-normalized.
        t: width of the potential.
        blocks: how the work is cut and shared, see `losses_contrastive`.

    Returns:
        0-d loss.

    Raises:
        ValueError: for fewer than two pairs, unequal shapes, non-finite values or an invalid `t`.

    Source: Fahim, Murphy, Fyshe 2024 (arXiv 2405.18570), L_XUniform; matched pairs are excluded.
    """
    image_embeds, text_embeds = checked_pair(image_embeds, text_embeds)
    return _log_mean_potential(image_embeds, text_embeds, t=t, blocks=blocks)


def _log_mean_potential(*embeds: torch.Tensor, t: float, blocks: Blocks) -> torch.Tensor:
    """log mean over i != j of exp(-t ||x_i - y_j||^2) for unit rows; of a single matrix, y = x."""

    blocks = blocks.for_inputs(*embeds)

    def loss(*inputs: torch.Tensor | bool) -> Contrast:
        *matrices, scale, with_derivatives = inputs
        first, second = matrices[0], matrices[-1]
        shift = shared_shift(first, second, scale, is_small(2 * t, blocks.precision.largest_shared_scale), blocks)
        left = blocks.precision.operand(first)
        right = left if first is second else blocks.precision.operand(second)
        exponentials = Exponentials(left, right, scale, Shifts(shift.reshape(1, 1)), blocks)
        from_second, from_first, total = exponentials.products_off_diagonal()
        value = total.log().to(scale.dtype) + shift - scale - math.log(len(first) * (len(first) - 1))
        if not with_derivatives:
            return Contrast(value)
        total = total.to(scale.dtype)
        by_scale = (from_second * first).sum() / total - 1
        if first is second:
            return Contrast(value, from_second * (2 * scale / total), by_scale)
        return Contrast(value, from_second * (scale / total), from_first * (scale / total), by_scale)

    # ||x - y||^2 = 2 - 2 <x, y>: the exponents are 2 t (<x, y> - 1).
    return differentiable(loss, *embeds, 2 * checked_scale(t, "t", embeds[0]))
