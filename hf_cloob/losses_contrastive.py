# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Contrastive losses of CLOOB and its relatives as pure functions of L2-normalized embeddings.

Vocabulary of shapes: `image_embeds` and `text_embeds` are (batch_size, projection_dim), row i of both is pair i, and
batch_size is the GLOBAL batch (see `distributed.all_gather_with_grad`). `inverse_temperature` is t = 1/tau =
exp(logit_scale), a float or a tensor with one element. Half-precision inputs are computed and returned in float32,
float64 stays float64. No function normalizes its inputs.
"""

import torch
from torch.nn import functional as F

from .hopfield import hopfield_retrieval
from .validation import checked_number, checked_pair, checked_scale

Scale = float | torch.Tensor


def info_nce_loss(
    anchors: torch.Tensor, candidates: torch.Tensor, inverse_temperature: Scale, label_smoothing: float = 0.0
) -> torch.Tensor:
    """InfoNCE in one direction: cross-entropy of each anchor's own candidate among all candidates.

        L = (1/N) sum_i [ -t <a_i, p_i> + log sum_j exp(t <a_i, p_j>) ]

    Args:
        anchors: (batch_size, projection_dim), L2-normalized.
        candidates: (batch_size, projection_dim), L2-normalized; row i is the positive of anchor i.
        inverse_temperature: t.
        label_smoothing: share of the target that is spread evenly over all candidates, in [0, 1).

    Returns:
        0-d loss in nats.

    Raises:
        ValueError: for fewer than two pairs, unequal shapes, non-finite values or an invalid scale or smoothing.

    Source: Radford et al. 2021 (CLIP); CLOOB paper (arXiv 2110.11316), equation of InfoNCE.
    """
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}.")
    anchors, candidates = checked_pair(anchors, candidates, names=("anchors", "candidates"))
    with torch.autocast(anchors.device.type, enabled=False):
        logits = checked_scale(inverse_temperature, "inverse_temperature", anchors) * (anchors @ candidates.T)
        targets = torch.arange(len(logits), device=logits.device)
        return F.cross_entropy(logits, targets, label_smoothing=label_smoothing)


def info_loob_loss(anchors: torch.Tensor, candidates: torch.Tensor, inverse_temperature: Scale) -> torch.Tensor:
    """InfoLOOB ("leave one out bound") in one direction: the positive is absent from the denominator.

        L = tau [ -(1/N) sum_i t <a_i, p_i> + (1/N) sum_i log sum_{j != i} exp(t <a_i, p_j>) ]

    The value is not bounded below by zero: negative losses are normal.

    Args:
        anchors: (batch_size, projection_dim), L2-normalized.
        candidates: (batch_size, projection_dim), L2-normalized; row i is the positive of anchor i.
        inverse_temperature: t.

    Returns:
        0-d loss, in units of tau nats.

    Raises:
        ValueError: for fewer than two pairs, unequal shapes, non-finite values or an invalid scale.

    Source: CLOOB paper (arXiv 2110.11316), equation of InfoLOOB. The leading tau is that of the released code, which
    the published learning rates go with; the paper prints the loss without it.
    """
    anchors, candidates = checked_pair(anchors, candidates, names=("anchors", "candidates"))
    with torch.autocast(anchors.device.type, enabled=False):
        scale = checked_scale(inverse_temperature, "inverse_temperature", anchors)
        # Scaled before masking: a learned scale times -inf would give NaN gradients.
        logits = scale * (anchors @ candidates.T)
        own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        negatives = logits.masked_fill(own, float("-inf")).logsumexp(dim=1)
        return (negatives - logits.diagonal()).mean() / scale


def clip_loss(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    inverse_temperature: Scale,
    label_smoothing: float = 0.0,
    hopfield_scale: Scale | None = None,
) -> torch.Tensor:
    """CLIP's loss: the mean of InfoNCE from images to texts and from texts to images.

        L = 1/2 [ NCE(x, y) + NCE(y, x) ];   with retrieval: 1/2 [ NCE(U_x, U_y) + NCE(V_y, V_x) ]

    Args:
        image_embeds: (batch_size, projection_dim) x, L2-normalized.
        text_embeds: (batch_size, projection_dim) y, L2-normalized.
        inverse_temperature: t.
        label_smoothing: in [0, 1), see `info_nce_loss`.
        hopfield_scale: beta of the retrieval, None for plain CLIP.

    Returns:
        0-d loss in nats.

    Raises:
        ValueError: as `info_nce_loss`.

    Source: Radford et al. 2021 (CLIP). The retrieval variant completes CLOOB's 2x2 ablation; no released code has it,
    and the choice of row directions only is ours.
    """
    (image_anchors, text_candidates), (text_anchors, image_candidates) = _directions(
        image_embeds, text_embeds, hopfield_scale
    )
    image_to_text = info_nce_loss(image_anchors, text_candidates, inverse_temperature, label_smoothing)
    text_to_image = info_nce_loss(text_anchors, image_candidates, inverse_temperature, label_smoothing)
    return (image_to_text + text_to_image) / 2


def cloob_loss(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    inverse_temperature: Scale,
    hopfield_scale: Scale | None,
) -> torch.Tensor:
    """CLOOB's loss: InfoLOOB on embeddings retrieved from the batch's images and from the batch's texts.

        L = LOOB(U_x, U_y) + LOOB(V_y, V_x)
        U_q = retrieval of q from the images x,  V_q = retrieval of q from the texts y

    A sum without 1/2, one direction per memory: images are the anchors in the image memory, texts in the text memory.
    Without retrieval (`hopfield_scale=None`): LOOB(x, y) + LOOB(y, x).

    Args:
        image_embeds: (batch_size, projection_dim) x, L2-normalized.
        text_embeds: (batch_size, projection_dim) y, L2-normalized.
        inverse_temperature: t, 30 in the paper. Do not learn it: the loss always falls as t grows.
        hopfield_scale: beta, 8 in the paper (CC3M), or None for no retrieval.

    Returns:
        0-d loss, in units of tau nats; 2 tau log(batch_size - 1) when all embeddings are equal.

    Raises:
        ValueError: for fewer than two pairs, unequal shapes, non-finite values or invalid scales.

    Source: CLOOB paper (arXiv 2110.11316), equation of L_CLOOB; leading tau and sum as in the released code.
    """
    (image_anchors, text_candidates), (text_anchors, image_candidates) = _directions(
        image_embeds, text_embeds, hopfield_scale
    )
    return info_loob_loss(image_anchors, text_candidates, inverse_temperature) + info_loob_loss(
        text_anchors, image_candidates, inverse_temperature
    )


def sigmoid_loss(
    image_embeds: torch.Tensor, text_embeds: torch.Tensor, inverse_temperature: Scale, bias: Scale
) -> torch.Tensor:
    """SigLIP's loss: every image-text combination of the global batch is a binary decision.

        L = -(1/N) sum_ij log sigmoid( z_ij (t <x_i, y_j> + b) ),   z_ij = 1 for i = j, otherwise -1

    Args:
        image_embeds: (batch_size, projection_dim) x, L2-normalized.
        text_embeds: (batch_size, projection_dim) y, L2-normalized.
        inverse_temperature: t.
        bias: b, a float or a tensor with one element; SigLIP starts at -10.

    Returns:
        0-d loss in nats per pair (the sum over all combinations divided by batch_size).

    Raises:
        ValueError: for fewer than two pairs, unequal shapes, non-finite values or an invalid scale or bias.

    Source: Zhai et al. 2023 (SigLIP, arXiv 2303.15343), algorithm 1.
    """
    image_embeds, text_embeds = checked_pair(image_embeds, text_embeds)
    with torch.autocast(image_embeds.device.type, enabled=False):
        scale = checked_scale(inverse_temperature, "inverse_temperature", image_embeds)
        bias = checked_number(bias, "bias", image_embeds)
        logits = scale * (image_embeds @ text_embeds.T) + bias
        signs = 2 * torch.eye(len(logits), dtype=logits.dtype, device=logits.device) - 1
        return -F.logsigmoid(signs * logits).sum() / len(logits)


def _directions(image_embeds: torch.Tensor, text_embeds: torch.Tensor, hopfield_scale: Scale | None):
    """Return ((image anchors, text candidates), (text anchors, image candidates)), retrieved if a scale is given."""
    image_embeds, text_embeds = checked_pair(image_embeds, text_embeds)
    if hopfield_scale is None:
        return (image_embeds, text_embeds), (text_embeds, image_embeds)
    from_images = [hopfield_retrieval(query, image_embeds, hopfield_scale) for query in (image_embeds, text_embeds)]
    from_texts = [hopfield_retrieval(query, text_embeds, hopfield_scale) for query in (text_embeds, image_embeds)]
    return from_images, from_texts
