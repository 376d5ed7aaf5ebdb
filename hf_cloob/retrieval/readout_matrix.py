# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The matrix of a readout in closed form: directions in which drawings of one thing differ count less."""

from collections.abc import Hashable, Sequence

import torch

# Chosen on entities of the selection half that the matrix was not fitted to; 0.1 and 1 are near it.
SHRINKAGE = 0.3


def whitening_matrix(
    sources: Sequence[tuple[torch.Tensor, Sequence[Hashable]]], shrinkage: float = SHRINKAGE
) -> torch.Tensor:
    """U = c (S + shrinkage 1)^-1 - 1, for a fusion layer that reads values of this modality, (projection_dim,) * 2.

    S is the mean over the sources of each one's scatter within entities, scaled to a mean eigenvalue of 1, and c gives
    the mapped embeddings a mean length of 1: <x, (1 + U) r> is then the score of a linear discriminant analysis. It
    knows entities only by how their pictures differ, so it holds for entities that it was not fitted to.

    Args:
        sources: embeddings (n, projection_dim), L2-normalized, and the n entities that they show; a source whose
            entities are all shown once says nothing and does not count.
        shrinkage: weight of the unit matrix; the larger, the nearer is U to 0.

    Raises:
        ValueError: for a shrinkage that is not above 0, or if no entity is shown twice.

    Source: Hatch, Kajarekar and Stolcke 2006, within-class covariance normalization.
    """
    if not shrinkage > 0:
        raise ValueError(f"shrinkage must be above 0, got {shrinkage}.")
    scatters = [scatter for embeds, entities in sources if (scatter := within_entities(embeds, entities)) is not None]
    if not scatters:
        raise ValueError("No entity is shown twice, so nothing tells how pictures of one entity differ.")
    unit = torch.eye(len(scatters[0]), dtype=torch.float64)
    scaled = [scatter * len(unit) / scatter.trace() for scatter in scatters]
    inverse = torch.linalg.inv(sum(scaled) / len(scaled) + shrinkage * unit)
    embeds = torch.cat([embeds.double() for embeds, _ in sources])
    return (inverse / (embeds @ inverse).norm(dim=1).mean() - unit).float()


def within_entities(embeds: torch.Tensor, entities: Sequence[Hashable]) -> torch.Tensor | None:
    """sum (x - mean of its entity) (x - mean of its entity)^T in float64, or None if it is zero."""
    numbers = {entity: number for number, entity in enumerate(dict.fromkeys(entities))}
    shown = torch.tensor([numbers[entity] for entity in entities], dtype=torch.int64)
    embeds = embeds.double()
    sums = embeds.new_zeros(len(numbers), embeds.shape[1]).index_add_(0, shown, embeds)
    counts = torch.bincount(shown, minlength=len(numbers))
    repeated = counts[shown] > 1
    if not repeated.any():
        return None
    centered = (embeds - sums[shown] / counts[shown, None])[repeated]
    return centered.T @ centered
