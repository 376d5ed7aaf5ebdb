# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""WiSE-FT: between the weights that training started from and those it ended with."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

# Eleven models from the start to the fine-tuned one.
ALPHAS = tuple(step / 10 for step in range(11))


class WeightPoint(NamedTuple):
    """A point between two models with its two figures on the selection data, each the higher the better."""

    alpha: float
    new: float
    known: float


def interpolate_weights(
    start: Mapping[str, torch.Tensor], finetuned: Mapping[str, torch.Tensor], alpha: float
) -> dict[str, torch.Tensor]:
    """The state dict (1 - alpha) * start + alpha * finetuned.

    Everything that holds real numbers is interpolated, the running means and variances of BatchNorm included; tables
    of integers (positions, numbers of batches) cannot be and are the fine-tuned model's, at alpha 0 the start's. At 0
    and 1 the result is one of the two models to the last bit. Computed in at least float32.

    Args:
        start: state dict of the model that training started from.
        finetuned: state dict of the fine-tuned one, with the same names and shapes.
        alpha: share of the fine-tuned model, in [0, 1].

    Returns:
        new tensors of the start's dtypes, on its device.

    Raises:
        ValueError: for an alpha outside [0, 1], and names or shapes that differ.

    Source: Wortsman et al. 2022 (WiSE-FT, arXiv 2109.01903), on all weights. Their ViTs have no running statistics.
    """
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha must be in [0, 1], got {alpha}.")
    if different := sorted(start.keys() ^ finetuned.keys()):
        raise ValueError(f"The two models are not of one architecture: only one of them has {different[:5]}.")
    for name, tensor in start.items():
        if tensor.shape != finetuned[name].shape:
            raise ValueError(
                f"The two models are not of one architecture: {name} is {tuple(tensor.shape)} in the start and "
                f"{tuple(finetuned[name].shape)} in the fine-tuned one."
            )
    return {name: _between(tensor, finetuned[name], alpha) for name, tensor in start.items()}


def _between(start: torch.Tensor, finetuned: torch.Tensor, alpha: float) -> torch.Tensor:
    finetuned = finetuned.to(start)
    if alpha in (0.0, 1.0) or not start.is_floating_point():
        return (start if alpha == 0.0 else finetuned).detach().clone()
    precise = torch.promote_types(start.dtype, torch.float32)
    return torch.lerp(start.detach().to(precise), finetuned.detach().to(precise), alpha).to(start.dtype)


def choose_alpha(points: Sequence[WeightPoint], max_known_loss: float = 0.0) -> WeightPoint:
    """The point with the highest new figure among those that lose at most `max_known_loss` of the known one.

    Of equal ones the smallest alpha is taken: it stays closest to the start.

    Args:
        points: measured on selection data only, one of them the start (alpha 0).
        max_known_loss: how far the known figure may lie below the start's, in the figure's own units.

    Raises:
        ValueError: without the start.
    """
    start = next((point for point in points if point.alpha == 0.0), None)
    if start is None:
        raise ValueError(f"The points need the start, alpha 0; got {[point.alpha for point in points]}.")
    kept = [point for point in points if point.known >= start.known - max_known_loss]
    return max(kept, key=lambda point: (point.new, -point.alpha))
