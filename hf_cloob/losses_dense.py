# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The objectives in their short dense form: the readable definition, and what tests and benchmarks compare with.

Names, arguments and values are those of `losses_contrastive` and `losses_regularization`, which compute the same
without a batch_size x batch_size matrix. Inputs are not checked here, and gradients are autograd's.
"""

import math

import torch
from torch.nn import functional as F

Scale = float | torch.Tensor


def hopfield_retrieval(state_patterns: torch.Tensor, stored_patterns: torch.Tensor, scale: Scale) -> torch.Tensor:
    """l2norm( softmax(beta q s^T) s )"""
    return F.normalize((scale * (state_patterns @ stored_patterns.T)).softmax(dim=1) @ stored_patterns, dim=1)


def info_nce_loss(
    anchors: torch.Tensor, candidates: torch.Tensor, inverse_temperature: Scale, label_smoothing: float = 0.0
) -> torch.Tensor:
    """Cross-entropy of t a p^T with the diagonal as target."""
    logits = inverse_temperature * (anchors @ candidates.T)
    targets = torch.arange(len(logits), device=logits.device)
    return F.cross_entropy(logits, targets, label_smoothing=label_smoothing)


def info_loob_loss(anchors: torch.Tensor, candidates: torch.Tensor, inverse_temperature: Scale) -> torch.Tensor:
    """tau [ mean_i log sum_{j != i} exp(t <a_i, p_j>) - t mean_i <a_i, p_i> ]"""
    # Scaled before masking: a learned scale times -inf would give NaN gradients.
    logits = inverse_temperature * (anchors @ candidates.T)
    negatives = logits.masked_fill(_diagonal(logits), float("-inf")).logsumexp(dim=1)
    return (negatives - logits.diagonal()).mean() / inverse_temperature


def clip_loss(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    inverse_temperature: Scale,
    label_smoothing: float = 0.0,
    hopfield_scale: Scale | None = None,
) -> torch.Tensor:
    """1/2 [ NCE(x, y) + NCE(y, x) ], or 1/2 [ NCE(U_x, U_y) + NCE(V_y, V_x) ]"""
    (image_anchors, texts), (text_anchors, images) = _directions(image_embeds, text_embeds, hopfield_scale)
    image_to_text = info_nce_loss(image_anchors, texts, inverse_temperature, label_smoothing)
    return (image_to_text + info_nce_loss(text_anchors, images, inverse_temperature, label_smoothing)) / 2


def cloob_loss(
    image_embeds: torch.Tensor, text_embeds: torch.Tensor, inverse_temperature: Scale, hopfield_scale: Scale | None
) -> torch.Tensor:
    """LOOB(U_x, U_y) + LOOB(V_y, V_x), or LOOB(x, y) + LOOB(y, x)"""
    (image_anchors, texts), (text_anchors, images) = _directions(image_embeds, text_embeds, hopfield_scale)
    return info_loob_loss(image_anchors, texts, inverse_temperature) + info_loob_loss(
        text_anchors, images, inverse_temperature
    )


def sigmoid_loss(
    image_embeds: torch.Tensor, text_embeds: torch.Tensor, inverse_temperature: Scale, bias: Scale
) -> torch.Tensor:
    """-(1/N) sum_ij log sigmoid( z_ij (t <x_i, y_j> + b) )"""
    logits = inverse_temperature * (image_embeds @ text_embeds.T) + bias
    signs = 2 * _diagonal(logits).to(logits.dtype) - 1
    return -F.logsigmoid(signs * logits).sum() / len(logits)


def uniformity_loss(embeds: torch.Tensor, t: float = 2.0) -> torch.Tensor:
    """log[ 2/(N(N-1)) sum_{i<j} exp(-t ||x_i - x_j||^2) ] of unit rows"""
    return cross_modal_uniformity_loss(embeds, embeds, t)


def cross_modal_uniformity_loss(image_embeds: torch.Tensor, text_embeds: torch.Tensor, t: float = 2.0) -> torch.Tensor:
    """log[ 1/(N(N-1)) sum_{i != j} exp(-t ||x_i - y_j||^2) ] of unit rows"""
    exponents = 2 * t * (image_embeds @ text_embeds.T) - 2 * t
    exponents = exponents.masked_fill(_diagonal(exponents), float("-inf"))
    return exponents.flatten().logsumexp(dim=0) - math.log(len(exponents) * (len(exponents) - 1))


def _directions(image_embeds: torch.Tensor, text_embeds: torch.Tensor, hopfield_scale: Scale | None):
    """((image anchors, text candidates), (text anchors, image candidates)), retrieved if a scale is given."""
    if hopfield_scale is None:
        return (image_embeds, text_embeds), (text_embeds, image_embeds)
    from_images = [hopfield_retrieval(query, image_embeds, hopfield_scale) for query in (image_embeds, text_embeds)]
    from_texts = [hopfield_retrieval(query, text_embeds, hopfield_scale) for query in (text_embeds, image_embeds)]
    return from_images, from_texts


def _diagonal(matrix: torch.Tensor) -> torch.Tensor:
    return torch.eye(len(matrix), dtype=torch.bool, device=matrix.device)
