# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Losses between views as slow float64 loops, independent of the package; see `reference` for how they are written."""

import math

import torch
from reference import Rows, dot, info_nce, log_sum_exp, mean


def barlow_twins(first: Rows, second: Rows, off_diagonal_weight: float = 0.005) -> torch.Tensor:
    """0.025 [ sum_i (C_ii - 1)^2 + w sum_{i != j} C_ij^2 ], C = v1^T v2 / N."""
    total = 0.0
    for i in range(len(first[0])):
        for j in range(len(second[0])):
            c = sum(a[i] * b[j] for a, b in zip(first, second, strict=True)) / len(first)
            total = total + ((c - 1) ** 2 if i == j else off_diagonal_weight * c**2)
    return 0.025 * total


def negative_cosine(predictions: Rows, targets: Rows) -> torch.Tensor:
    """2 - 2 mean cos(p, v) of unit rows, v a constant."""
    return mean([2 - 2 * dot(p, v.detach()) for p, v in zip(predictions, targets, strict=True)])


def sinkhorn(scores: list[list[float]], num_iterations: int = 3, epsilon: float = 0.05) -> list[list[float]]:
    """exp(s / eps), then columns and rows divided by their sums in turn; plain numbers, so nothing has a gradient."""
    q = [[math.exp(score / epsilon) for score in row] for row in scores]
    for _ in range(num_iterations):
        columns = [sum(row[j] for row in q) for j in range(len(q[0]))]
        q = [[value / column for value, column in zip(row, columns, strict=True)] for row in q]
        q = [[value / sum(row) for value in row] for row in q]
    return q


def swalip(images: list[Rows], texts: list[Rows], t) -> torch.Tensor:
    """Mean over the four view pairs and both sides of H(Q of the swapped views, t S)."""
    terms = []
    for a in (0, 1):
        for b in (0, 1):
            for own, other, own_swapped, other_swapped in (
                (images[a], texts[b], images[1 - a], texts[1 - b]),
                (texts[b], images[a], texts[1 - b], images[1 - a]),
            ):
                targets = sinkhorn([[dot(x, y).item() for y in other_swapped] for x in own_swapped])
                losses = []
                for x, target in zip(own, targets, strict=True):
                    scores = [t * dot(x, y) for y in other]
                    normalizer = log_sum_exp(scores)
                    losses.append(-sum(q * (s - normalizer) for q, s in zip(target, scores, strict=True)))
                terms.append(mean(losses))
    return mean(terms)


def simclr(first: Rows, second: Rows, t) -> torch.Tensor:
    """Each of the 2N views against the 2N - 1 others, its twin the positive."""
    views, count = [*first, *second], len(first)
    terms = []
    for i, view in enumerate(views):
        others = [t * dot(view, other) for j, other in enumerate(views) if j != i]
        terms.append(log_sum_exp(others) - t * dot(view, views[(i + count) % (2 * count)]))
    return mean(terms)


def strong_pairs(images: list[Rows], texts: list[Rows], t, label_smoothing: float = 0.1) -> torch.Tensor:
    """Mean over all A^2 view pairs and both directions of label-smoothed InfoNCE."""
    terms = []
    for x in images:
        for y in texts:
            terms += [info_nce(x, y, t, label_smoothing), info_nce(y, x, t, label_smoothing)]
    return mean(terms)
