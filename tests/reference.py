# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The papers' formulas as slow float64 Python loops, independent of the package.

Rows are lists of autograd scalars, sums are written out term by term and nothing is rearranged for stability beyond
subtracting a maximum, so that a gradient of these loops is the gradient of the printed formula.
"""

import math

import torch

Rows = list[torch.Tensor]


def rows(matrix: torch.Tensor) -> Rows:
    """The rows of a matrix in float64, still attached to its graph."""
    return [row.double() for row in matrix]


def dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a * b).sum()


def log_sum_exp(terms: list[torch.Tensor]) -> torch.Tensor:
    top = max(term.item() for term in terms)
    total = 0.0
    for term in terms:
        total = total + torch.exp(term - top)
    return torch.log(total) + top


def mean(terms: list[torch.Tensor]) -> torch.Tensor:
    return sum(terms) / len(terms)


def hopfield_retrieval(states: Rows, stored: Rows, beta) -> Rows:
    """U_q = l2norm( sum_j softmax_j(beta <q, s_j>) s_j ). CLOOB paper, section on modern Hopfield networks."""
    retrieved = []
    for state in states:
        scores = [beta * dot(state, pattern) for pattern in stored]
        normalizer = log_sum_exp(scores)
        mixture = 0.0
        for score, pattern in zip(scores, stored, strict=True):
            mixture = mixture + torch.exp(score - normalizer) * pattern
        retrieved.append(mixture / torch.sqrt(dot(mixture, mixture)))
    return retrieved


def info_nce(anchors: Rows, candidates: Rows, t, label_smoothing: float = 0.0) -> torch.Tensor:
    """CE(t a p^T); with smoothing the target is (1 - e) on the positive and e / N on every candidate."""
    terms = []
    for i, anchor in enumerate(anchors):
        scores = [t * dot(anchor, candidate) for candidate in candidates]
        log_normalizer = log_sum_exp(scores)
        for j, score in enumerate(scores):
            target = label_smoothing / len(scores) + (1 - label_smoothing if i == j else 0.0)
            terms.append(-target * (score - log_normalizer))
    return sum(terms) / len(anchors)


def info_loob(anchors: Rows, candidates: Rows, t) -> torch.Tensor:
    """tau [ -(1/N) sum_i t <a_i, p_i> + (1/N) sum_i log sum_{j != i} exp(t <a_i, p_j>) ]."""
    terms = []
    for i, anchor in enumerate(anchors):
        negatives = [t * dot(anchor, candidate) for j, candidate in enumerate(candidates) if j != i]
        terms.append(log_sum_exp(negatives) - t * dot(anchor, candidates[i]))
    return mean(terms) / t


def clip(images: Rows, texts: Rows, t, label_smoothing: float = 0.0, beta=None) -> torch.Tensor:
    """1/2 [NCE(x, y) + NCE(y, x)], on retrieved rows with a beta."""
    (a, b), (c, d) = directions(images, texts, beta)
    return (info_nce(a, b, t, label_smoothing) + info_nce(c, d, t, label_smoothing)) / 2


def cloob(images: Rows, texts: Rows, t, beta) -> torch.Tensor:
    """LOOB(U_x, U_y) + LOOB(V_y, V_x); without retrieval LOOB(x, y) + LOOB(y, x)."""
    (a, b), (c, d) = directions(images, texts, beta)
    return info_loob(a, b, t) + info_loob(c, d, t)


def directions(images: Rows, texts: Rows, beta) -> tuple[tuple[Rows, Rows], tuple[Rows, Rows]]:
    if beta is None:
        return (images, texts), (texts, images)
    return (
        (hopfield_retrieval(images, images, beta), hopfield_retrieval(texts, images, beta)),
        (hopfield_retrieval(texts, texts, beta), hopfield_retrieval(images, texts, beta)),
    )


def sigmoid(images: Rows, texts: Rows, t, bias) -> torch.Tensor:
    """-(1/N) sum_ij log sigmoid(z_ij (t s_ij + b)), written as log(1 + exp(-u))."""
    total = 0.0
    for i, image in enumerate(images):
        for j, text in enumerate(texts):
            u = (1 if i == j else -1) * (t * dot(image, text) + bias)
            total = total + log_sum_exp([torch.zeros_like(u), -u])
    return total / len(images)


def alignment(images: Rows, texts: Rows) -> torch.Tensor:
    """(1/N) sum ||x_i - y_i||^2."""
    return mean([dot(x - y, x - y) for x, y in zip(images, texts, strict=True)])


def uniformity(embeds: Rows, t: float = 2.0) -> torch.Tensor:
    """log[ 2/(N(N-1)) sum_{i<j} exp(-t ||x_i - x_j||^2) ]."""
    terms = []
    for i, x in enumerate(embeds):
        for other in embeds[i + 1 :]:
            terms.append(-t * dot(x - other, x - other))
    return log_sum_exp(terms) - math.log(len(terms))


def cross_modal_uniformity(images: Rows, texts: Rows, t: float = 2.0) -> torch.Tensor:
    """log[ 1/(N(N-1)) sum_{i != j} exp(-t ||x_i - y_j||^2) ]."""
    terms = []
    for i, x in enumerate(images):
        for j, y in enumerate(texts):
            if i != j:
                terms.append(-t * dot(x - y, x - y))
    return log_sum_exp(terms) - math.log(len(terms))
