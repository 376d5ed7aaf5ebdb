# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What one looks at: both modalities in a plane, and how matched and other cosines are spread."""

from dataclasses import dataclass

import torch
from torch.nn.functional import normalize

from .ranking import check_embeds
from .spectrum import covariance_spectrum

# Pairs that planes are fitted to and mismatched cosines are taken among.
FITTED_PAIRS = 2000
# Bins of the histograms over [-1, 1].
NUM_BINS = 100


@dataclass(frozen=True)
class PlaneView:
    """Pairs in a plane, relative to the middle between both centers.

    Attributes:
        image_points, text_points: (num_pairs, 2).
        explained: share of the variance of images and texts together that lies in the plane.
    """

    image_points: list[list[float]]
    text_points: list[list[float]]
    explained: float


@torch.no_grad()
def principal_plane(image_embeds: torch.Tensor, text_embeds: torch.Tensor) -> torch.Tensor:
    """The two directions in which images and texts together vary most (PCA).

    Args:
        image_embeds: (num_images, projection_dim), rows L2-normalized; of these and the texts the first 2,000 count.
        text_embeds: (num_texts, projection_dim), rows L2-normalized; projection_dim at least 2.

    Returns:
        (2, projection_dim) orthonormal, float64; the texts' center lies on the positive side of both.

    Raises:
        ValueError: embeddings not finite or not normalized.
    """
    images, texts = image_embeds[:FITTED_PAIRS], text_embeds[:FITTED_PAIRS].to(image_embeds)
    axes = covariance_spectrum(torch.cat([images, texts]))[1][:, :2].T
    gap = texts.mean(dim=0, dtype=torch.float64) - images.mean(dim=0, dtype=torch.float64)
    return torch.where(axes @ gap < 0, -1.0, 1.0).unsqueeze(1) * axes


@torch.no_grad()
def gap_plane(image_embeds: torch.Tensor, text_embeds: torch.Tensor, gap_vector: torch.Tensor) -> torch.Tensor:
    """The direction from the images' center to the texts', and the principal axis across it.

    The gap is seldom among the first principal axes, where one would look for it in vain.

    Args:
        image_embeds: (num_images, projection_dim), rows L2-normalized; of these and the texts the first 2,000 count.
        text_embeds: (num_texts, projection_dim), rows L2-normalized; projection_dim at least 2.
        gap_vector: (projection_dim,) images' center minus texts' center, of other pairs: a gap that is fitted to the
            pairs it is shown on always shows.

    Returns:
        (2, projection_dim) orthonormal, float64.

    Raises:
        ValueError: embeddings not finite or not normalized.
    """
    both = torch.cat([image_embeds[:FITTED_PAIRS], text_embeds[:FITTED_PAIRS].to(image_embeds)])
    axes = covariance_spectrum(both)[1]
    along = normalize(-gap_vector.to(axes), dim=0)
    across = axes[:, :2] - along[:, None] * (along @ axes[:, :2])
    # The first axis, unless it is the gap itself: then the second is not.
    first, second = across.unbind(dim=1)
    return torch.stack([along, normalize(first if first.norm() > 0.5 else second, dim=0)])


@torch.no_grad()
def plane_view(
    image_embeds: torch.Tensor, text_embeds: torch.Tensor, plane: torch.Tensor, num_shown: int = 400
) -> PlaneView:
    """Project pairs to a plane.

    Args:
        image_embeds: (num_pairs, projection_dim), rows L2-normalized.
        text_embeds: (num_pairs, projection_dim), rows L2-normalized; row i belongs to image i.
        plane: (2, projection_dim) orthonormal.
        num_shown: how many pairs, from the first on, become points.

    Raises:
        ValueError: embeddings not finite or not normalized.
    """
    images, texts = check_embeds("image_embeds", image_embeds), check_embeds("text_embeds", text_embeds)
    embeds = torch.cat([images[:FITTED_PAIRS], texts[:FITTED_PAIRS].to(images)]).double()
    centered = embeds - embeds.mean(dim=0)
    points = centered @ plane.to(centered).T
    explained = points.square().sum() / centered.square().sum().clamp(min=1e-12)
    image_points, text_points = (side[:num_shown].tolist() for side in points.tensor_split(2))
    return PlaneView(image_points, text_points, float(explained))


@torch.no_grad()
def cosine_histograms(image_embeds: torch.Tensor, text_embeds: torch.Tensor) -> dict[str, list[float]]:
    """How the cosines of matched pairs, and of images with other texts, are spread.

    Args:
        image_embeds: (num_pairs, projection_dim), rows L2-normalized; at least two pairs.
        text_embeds: (num_pairs, projection_dim), rows L2-normalized; row i belongs to image i.

    Returns:
        `matched` and `mismatched`, among the first 2,000 pairs: shares in 100 equal bins over [-1, 1].

    Raises:
        ValueError: embeddings of different shapes, not finite or not normalized, or fewer than two pairs.
    """
    images, texts = check_embeds("image_embeds", image_embeds), check_embeds("text_embeds", text_embeds)
    texts = texts.to(images)
    if images.shape != texts.shape or len(images) < 2:
        raise ValueError(f"cosines need at least two pairs; got {tuple(images.shape)} and {tuple(texts.shape)}.")
    scores = images[:FITTED_PAIRS] @ texts[:FITTED_PAIRS].T
    matched = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    return {"matched": _histogram(scores[matched]), "mismatched": _histogram(scores[~matched])}


def _histogram(cosines: torch.Tensor) -> list[float]:
    counts = torch.histc(cosines.float().clamp(-1, 1), NUM_BINS, -1, 1)
    return (counts / counts.sum()).tolist()
