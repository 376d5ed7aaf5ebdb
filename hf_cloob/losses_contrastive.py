# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Contrastive losses of CLOOB and its relatives as pure functions of L2-normalized embeddings.

Vocabulary of shapes: `image_embeds` and `text_embeds` are (batch_size, projection_dim), row i of both is pair i, and
batch_size is the GLOBAL batch (see `distributed.all_gather_with_grad`). `inverse_temperature` is t = 1/tau =
exp(logit_scale), a float or a tensor with one element. Half-precision inputs are computed and returned in float32,
float64 stays float64. No function normalizes its inputs.

On a CUDA GPU, if all inputs are half precision, or float32 under autocast to it, the operands of the large matrix
products are float16 and everything else, their sums included, stays float32. Embeddings that come in half precision
are exact operands (components below 2^-25 aside); float32 embeddings, what retrieval returns, weights of exponentials
and gradients are rounded to float16's 11 bits; gradients stay within a hundredth (tested up to scales of 60; a
retrieval scale of 300 can cost a twentieth). Everywhere else products have float32 operands, on the CPU always.
`blocks=Blocks(half_operands=...)` decides it by hand.

Values and gradients are exact and need memory O(batch_size * projection_dim): no batch_size x batch_size matrix is
ever held. `losses_dense` has the same functions in a line or two each. Gradients are formed together with the value,
so a second derivative does not exist: asking for it raises RuntimeError. `blocks` shares the work between processes
that call with the same embeddings (`distributed.shared_blocks`); each gets the whole value and the whole gradient.
"""

import torch

from .blockwise import ALL_BLOCKS, Blocks, sigmoid_products
from .blockwise_objectives import Contrast, contrast, contrast_of_retrieved, differentiable
from .blockwise_retrieval import is_small
from .validation import checked_number, checked_pair, checked_scale

Scale = float | torch.Tensor


def info_nce_loss(
    anchors: torch.Tensor,
    candidates: torch.Tensor,
    inverse_temperature: Scale,
    label_smoothing: float = 0.0,
    *,
    blocks: Blocks = ALL_BLOCKS,
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
    return _one_direction(
        anchors, candidates, inverse_temperature, blocks, exclude_positive=False, label_smoothing=label_smoothing
    )


def info_loob_loss(
    anchors: torch.Tensor, candidates: torch.Tensor, inverse_temperature: Scale, *, blocks: Blocks = ALL_BLOCKS
) -> torch.Tensor:
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
    loss = _one_direction(anchors, candidates, inverse_temperature, blocks, exclude_positive=True)
    return loss / checked_scale(inverse_temperature, "inverse_temperature", anchors)


def clip_loss(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    inverse_temperature: Scale,
    label_smoothing: float = 0.0,
    hopfield_scale: Scale | None = None,
    *,
    blocks: Blocks = ALL_BLOCKS,
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
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}.")
    image_embeds, text_embeds = checked_pair(image_embeds, text_embeds)
    return 0.5 * _both_directions(
        image_embeds,
        text_embeds,
        inverse_temperature,
        hopfield_scale,
        blocks,
        exclude_positive=False,
        label_smoothing=label_smoothing,
    )


def cloob_loss(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    inverse_temperature: Scale,
    hopfield_scale: Scale | None,
    *,
    blocks: Blocks = ALL_BLOCKS,
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
    image_embeds, text_embeds = checked_pair(image_embeds, text_embeds)
    loss = _both_directions(
        image_embeds, text_embeds, inverse_temperature, hopfield_scale, blocks, exclude_positive=True
    )
    return loss / checked_scale(inverse_temperature, "inverse_temperature", image_embeds)


def sigmoid_loss(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    inverse_temperature: Scale,
    bias: Scale,
    *,
    blocks: Blocks = ALL_BLOCKS,
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
    scale = checked_scale(inverse_temperature, "inverse_temperature", image_embeds)
    bias = checked_number(bias, "bias", image_embeds)
    blocks = blocks.for_inputs(image_embeds, text_embeds)

    def loss(images, texts, scale, bias, with_derivatives: bool) -> Contrast:
        total, by_images, by_texts, slope = sigmoid_products(images, texts, scale, bias, blocks, with_derivatives)
        if not with_derivatives:
            return Contrast(total / len(images))
        by_scale = (by_images * images).sum(dim=1).mean()
        factor = scale / len(images)
        return Contrast(total / len(images), by_images * factor, by_texts * factor, by_scale, slope / len(images))

    return differentiable(loss, image_embeds, text_embeds, scale, bias)


def _one_direction(
    anchors: torch.Tensor, candidates: torch.Tensor, inverse_temperature: Scale, blocks: Blocks, **options
) -> torch.Tensor:
    """`contrast` of checked embeddings from the anchors to the candidates, differentiable."""
    scale = checked_scale(inverse_temperature, "inverse_temperature", anchors)
    blocks = blocks.for_inputs(anchors, candidates)
    return differentiable(
        lambda a, p, t, with_derivatives: contrast(a, p, t, blocks, with_derivatives, **options),
        anchors,
        candidates,
        scale,
    )


def _both_directions(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    inverse_temperature: Scale,
    hopfield_scale: Scale | None,
    blocks: Blocks,
    **options,
) -> torch.Tensor:
    """Sum of `contrast` over both directions of checked embeddings, with retrieval if a scale is given."""
    scale = checked_scale(inverse_temperature, "inverse_temperature", image_embeds)
    blocks = blocks.for_inputs(image_embeds, text_embeds)
    if hopfield_scale is None:
        return differentiable(
            lambda x, y, t, with_derivatives: contrast(
                x, y, t, blocks, with_derivatives, both_directions=True, **options
            ),
            image_embeds,
            text_embeds,
            scale,
        )
    small = is_small(hopfield_scale, blocks.precision.largest_shared_scale)
    return differentiable(
        lambda x, y, t, beta, with_derivatives: contrast_of_retrieved(
            x, y, t, beta, blocks, with_derivatives, small_hopfield_scale=small, **options
        ),
        image_embeds,
        text_embeds,
        scale,
        checked_scale(hopfield_scale, "hopfield_scale", image_embeds),
    )
