# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""In how many directions the embeddings of one modality vary: the eigenvalues of their covariance."""

import torch

from .ranking import check_embeds

# Rows that become float64 at once.
ROWS_AT_ONCE = 4096


@torch.no_grad()
def covariance_spectrum(embeds: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Eigenvalues of the covariance of one modality, largest first, its eigenvectors and its center.

        C = (1/N) sum_i (x_i - mean x) (x_i - mean x)^T

    Args:
        embeds: (num_rows, projection_dim), rows L2-normalized.

    Returns:
        (projection_dim,) eigenvalues of at least 0, (projection_dim, projection_dim) with the eigenvectors in its
        columns, and (projection_dim,) mean; float64.

    Raises:
        ValueError: embeddings not finite or not normalized.
    """
    embeds = check_embeds("embeds", embeds)
    mean = embeds.mean(dim=0, dtype=torch.float64)
    covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64, device=embeds.device)
    for rows in embeds.split(ROWS_AT_ONCE):
        centered = rows.double() - mean
        covariance.addmm_(centered.T, centered, alpha=1 / len(embeds))
    eigenvalues, eigenvectors = torch.linalg.eigh(covariance)
    return eigenvalues.flip(0).clamp(min=0), eigenvectors.flip(1), mean


def effective_rank(eigenvalues: torch.Tensor) -> torch.Tensor:
    """Exponential of the entropy of a normalized spectrum: how many equal eigenvalues would be as spread out.

        erank = exp(-sum_k p_k log p_k),   p_k = eigenvalue_k / sum of all

    Args:
        eigenvalues: (..., projection_dim) of a covariance, at least 0.

    Returns:
        (...,) from 1 to projection_dim; 0 where nothing varies.

    Source: Roy and Vetterli 2007 (EUSIPCO), here of the covariance matrix.
    """
    total = eigenvalues.sum(dim=-1)
    shares = eigenvalues / total.unsqueeze(-1).clamp(min=torch.finfo(eigenvalues.dtype).tiny)
    return torch.where(total > 0, torch.special.entr(shares).sum(dim=-1).exp(), 0.0)


def num_eigenvalues(eigenvalues: torch.Tensor, share: float) -> torch.Tensor:
    """How many of the largest eigenvalues make up a share of their sum.

    Args:
        eigenvalues: (..., projection_dim) of a covariance, at least 0, in any order.
        share: of the sum, in (0, 1].

    Returns:
        (...,) int64; 0 where nothing varies.

    Raises:
        ValueError: a share outside (0, 1].

    Source: CLOOB (arXiv 2110.11316) counts those of 99 %.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1; got {share}.")
    sums = eigenvalues.sort(dim=-1, descending=True).values.cumsum(dim=-1)
    # A bound that rounding of the sum cannot miss: 9 of 10 equal eigenvalues are 90 %.
    wanted = share * sums[..., -1:] * (1 - 1e-12)
    return torch.where(sums[..., -1] > 0, (sums < wanted).sum(dim=-1) + 1, 0)
