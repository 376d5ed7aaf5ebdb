# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Losses between augmented views: Barlow Twins, SimSiam and BYOL, swapped assignments, SimCLR, rocket's strong pairs.

Vocabulary of shapes: row i of every matrix belongs to pair i, and batch_size is the GLOBAL batch. A list of views has
one matrix (batch_size, projection_dim) for each augmentation. "L2-normalized" rows are normalized by the caller.
Half-precision inputs are computed and returned in float32, under autocast too; float64 stays float64. The
scores of N rows are held as N x N matrices here, unlike in `losses_contrastive`.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from .blockwise import ALL_BLOCKS, Blocks
from .losses_contrastive import Scale, clip_loss
from .validation import checked_pair, checked_scale, full_precision

BARLOW_TWINS_SCALE = 0.025


def cross_correlation(
    image_features: torch.Tensor, text_features: torch.Tensor, global_batch_size: int | torch.Tensor | None = None
) -> torch.Tensor:
    """The matrix C = v1^T v2 / N of two views' features, correlations if each feature has mean 0 and variance 1.

    Args:
        image_features: (batch_size, num_features) v1, standardized over the batch (by a BatchNorm).
        text_features: (batch_size, num_features) v2, the same.
        global_batch_size: N, if these rows are one process's share of it; the sum of all shares is C.

    Returns:
        (num_features, num_features).

    Raises:
        ValueError: for unequal shapes, fewer than two pairs (of a share none is enough) or non-finite values.
    """
    minimum, names = 2 if global_batch_size is None else 0, ("image_features", "text_features")
    first, second = full_precision(*checked_pair(image_features, text_features, minimum, names))
    with torch.autocast(first.device.type, enabled=False):
        return first.T @ second / (len(first) if global_batch_size is None else global_batch_size)


def redundancy_loss(correlation: torch.Tensor, off_diagonal_weight: float = 0.005) -> torch.Tensor:
    """Distance of a cross-correlation matrix from the identity.

        L = 0.025 [ sum_i (C_ii - 1)^2 + 0.005 sum_{i != j} C_ij^2 ]

    It is apart from `cross_correlation` so that processes can add up their shares of C first.

    Args:
        correlation: (num_features, num_features) C.
        off_diagonal_weight: weight of the squares off the diagonal.

    Returns:
        0-d loss, at least 0.

    Source: Zbontar et al. 2021 (Barlow Twins, arXiv 2103.03230), equation 1; the factor 0.025 and both weights as in
    the code released with Fini et al. 2023 (arXiv 2305.08675).
    """
    (correlation,) = full_precision(correlation)
    with torch.autocast(correlation.device.type, enabled=False):
        diagonal = correlation.diagonal()
        off_diagonal = correlation.square().sum() - diagonal.square().sum()
        return BARLOW_TWINS_SCALE * ((diagonal - 1).square().sum() + off_diagonal_weight * off_diagonal)


def barlow_twins_loss(
    image_features: torch.Tensor, text_features: torch.Tensor, off_diagonal_weight: float = 0.005
) -> torch.Tensor:
    """Barlow Twins between images and texts (BarLIP): `redundancy_loss` of their `cross_correlation`.

    Args:
        image_features: (batch_size, num_features), standardized over the batch; not L2-normalized.
        text_features: (batch_size, num_features), the same.
        off_diagonal_weight: weight of the squares off the diagonal.

    Returns:
        0-d loss.

    Raises:
        ValueError: as `cross_correlation`.

    Source: Fini et al. 2023 (arXiv 2305.08675), BarLIP. The released code adds up C over processes without gradient;
    this one is differentiable by every row.
    """
    return redundancy_loss(cross_correlation(image_features, text_features), off_diagonal_weight)


def negative_cosine_loss(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """SimSiam's and BYOL's loss: the mean squared distance of predictions from targets that get no gradient.

        L = 2 - 2 (1/N) sum_i <p_i, stopgrad v_i>

    Args:
        predictions: (batch_size, projection_dim) p, L2-normalized.
        targets: (batch_size, projection_dim) v, L2-normalized; detached here.

    Returns:
        0-d loss in [0, 4].

    Raises:
        ValueError: for unequal shapes, no pair at all or non-finite values.

    Source: Chen & He 2021 (SimSiam, arXiv 2011.10566); Grill et al. 2020 (BYOL, arXiv 2006.07733), equation 2.
    """
    names = ("predictions", "targets")
    predictions, targets = full_precision(*checked_pair(predictions, targets.detach(), minimum=1, names=names))
    with torch.autocast(predictions.device.type, enabled=False):
        return 2 - 2 * torch.linalg.vecdot(predictions, targets).mean()


@torch.no_grad()
def sinkhorn_knopp(scores: torch.Tensor, num_iterations: int = 3, epsilon: float = 0.05) -> torch.Tensor:
    """Turn scores into soft assignments in which every row counts the same and every column is used alike.

    Q = exp(scores / epsilon), then in turn each column and each row divided by its sum. In the limit all rows sum to 1
    and all columns to num_rows / num_columns; the rows, last, do exactly. Computed with logarithms; no gradient.

    Args:
        scores: (num_rows, num_columns) cosines of the global batch.
        num_iterations: how often both are normalized.
        epsilon: entropy regularization; lower is sharper and converges slower.

    Returns:
        (num_rows, num_columns) Q.

    Raises:
        ValueError: if `num_iterations` is below 1 or `epsilon` not above 0.

    Source: Cuturi 2013; Caron et al. 2020 (SwAV, arXiv 2006.09882), 3 iterations and epsilon 0.05.
    """
    if num_iterations < 1:
        raise ValueError(f"num_iterations must be at least 1, got {num_iterations}.")
    if not epsilon > 0:
        raise ValueError(f"epsilon must be above 0, got {epsilon}.")
    (logits,) = full_precision(scores)
    logits = logits / epsilon
    for _ in range(num_iterations):
        logits = logits.log_softmax(dim=0).log_softmax(dim=1)
    return logits.exp()


def swalip_loss(
    image_views: Sequence[torch.Tensor],
    text_views: Sequence[torch.Tensor],
    inverse_temperature: Scale,
    num_iterations: int = 3,
    epsilon: float = 0.05,
) -> torch.Tensor:
    """Swapped assignments without prototypes: the batch's other modality takes their place.

        S_ab = x_a y_b^T;   Q_ab = sinkhorn(S_ab),   R_ba = sinkhorn(S_ab^T)
        H(Q, Z) = -(1/N) sum_ij Q_ij log softmax_j Z_ij
        L = 1/4 sum_ab 1/2 [ H(Q_{1-a,1-b}, t S_ab) + H(R_{1-b,1-a}, t S_ab^T) ],   a, b in {0, 1}

    Args:
        image_views: two matrices (batch_size, projection_dim) x_0 and x_1, L2-normalized.
        text_views: two matrices (batch_size, projection_dim) y_0 and y_1, L2-normalized.
        inverse_temperature: t.
        num_iterations: of `sinkhorn_knopp`.
        epsilon: of `sinkhorn_knopp`.

    Returns:
        0-d loss in nats. The targets get no gradient.

    Raises:
        ValueError: for another number of views than two, fewer than two pairs, unequal shapes, non-finite values or an
            invalid scale.

    Source: Fini et al. 2023 (arXiv 2305.08675), SwALIP as in the released code.
    """
    if len(image_views) != 2 or len(text_views) != 2:
        raise ValueError(
            f"Assignments are swapped between two views, got {len(image_views)} of images and {len(text_views)} of "
            "texts."
        )
    pairs = [[full_precision(*checked_pair(images, texts)) for texts in text_views] for images in image_views]
    scale = checked_scale(inverse_temperature, "inverse_temperature", pairs[0][0][0])
    with torch.autocast(scale.device.type, enabled=False):
        scores = [[images @ texts.T for images, texts in row] for row in pairs]
        terms = []
        for a in range(2):
            for b in range(2):
                swapped = scores[1 - a][1 - b].detach()
                for own, other in ((scores[a][b], swapped), (scores[a][b].T, swapped.T)):
                    targets = sinkhorn_knopp(other, num_iterations, epsilon)
                    terms.append(-(targets * (scale * own).log_softmax(dim=1)).sum(dim=1).mean())
        return torch.stack(terms).mean()


def simclr_loss(
    first_embeds: torch.Tensor, second_embeds: torch.Tensor, inverse_temperature: Scale = 10.0
) -> torch.Tensor:
    """SimCLR's NT-Xent: each of the 2N views picks its twin among the 2N - 1 views that are not itself.

        L = 1/(2N) sum_i [ -t <u_i, u_twin(i)> + log sum_{j != i} exp(t <u_i, u_j>) ],   u = first views, then second

    Args:
        first_embeds: (batch_size, projection_dim) of the first view, L2-normalized.
        second_embeds: (batch_size, projection_dim) of the second view, L2-normalized.
        inverse_temperature: t, 10 in SLIP.

    Returns:
        0-d loss in nats.

    Raises:
        ValueError: for fewer than two pairs, unequal shapes, non-finite values or an invalid scale.

    Source: Chen et al. 2020 (SimCLR, arXiv 2002.05709), equation 1; Mu et al. 2021 (SLIP, arXiv 2112.12750) uses the
    same form with temperature 0.1.
    """
    names = ("first_embeds", "second_embeds")
    first, second = full_precision(*checked_pair(first_embeds, second_embeds, names=names))
    scale = checked_scale(inverse_temperature, "inverse_temperature", first)
    with torch.autocast(first.device.type, enabled=False):
        views = torch.cat([first, second])
        logits = scale * (views @ views.T)
        itself = torch.eye(len(views), dtype=torch.bool, device=views.device)
        twins = torch.arange(len(views), device=views.device).roll(len(first))
        return F.cross_entropy(logits.masked_fill(itself, float("-inf")), twins)


def strong_pairs_loss(
    image_views: Sequence[torch.Tensor],
    text_views: Sequence[torch.Tensor],
    inverse_temperature: Scale,
    label_smoothing: float = 0.1,
    *,
    blocks: Blocks = ALL_BLOCKS,
) -> torch.Tensor:
    """Label-smoothed CLIP loss, averaged over every combination of an image view and a text view.

        L_l = (1/A^2) sum_ab 1/2 [ NCE(x_a, y_b) + NCE(y_b, x_a) ]

    Args:
        image_views: A matrices (batch_size, projection_dim), L2-normalized.
        text_views: A matrices (batch_size, projection_dim), L2-normalized.
        inverse_temperature: t.
        label_smoothing: see `clip_loss`; 0.1 in the paper.
        blocks: see `losses_contrastive`.

    Returns:
        0-d loss in nats.

    Raises:
        ValueError: if there is no view, and as `clip_loss`.

    Source: Fini et al. 2023 (arXiv 2305.08675), the strong ("local") term of the released code.
    """
    if not image_views or not text_views:
        raise ValueError(f"Got {len(image_views)} image views and {len(text_views)} text views: at least one of both.")
    terms = [
        clip_loss(images, texts, inverse_temperature, label_smoothing, blocks=blocks)
        for images in image_views
        for texts in text_views
    ]
    return torch.stack(terms).mean()


def rocket_loss(weak_loss: torch.Tensor, strong_loss: torch.Tensor, num_strong_views: int) -> torch.Tensor:
    """The loss of the weak pairs and that of the strong ones, by their numbers of views.

        L = (L_g + A L_l) / (1 + A)

    Both are means of their two directions, and so is L; the released code's "sum" (for CC12M and YFCC) is 2 L.

    Args:
        weak_loss: 0-d L_g, any loss of the weak pairs.
        strong_loss: 0-d L_l, see `strong_pairs_loss`.
        num_strong_views: A.

    Source: Fini et al. 2023 (arXiv 2305.08675), as in the released code.
    """
    return (weak_loss + num_strong_views * strong_loss) / (1 + num_strong_views)
