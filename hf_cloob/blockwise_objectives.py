# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Values and derivatives of the contrastive objectives, put together from the products of the blockwise kernels.

Everything that costs O(batch_size^2) happens in `blockwise` and `blockwise_retrieval`; here are the rest, which costs
O(batch_size * projection_dim), and the one autograd function through which all losses hand out the derivatives that
were formed with their value.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from .blockwise import Blocks, softmax_products, two_way_softmax_products
from .blockwise_products import Operand
from .blockwise_retrieval import Exponentials, retrieval_shifts
from .validation import full_precision


class Contrast(NamedTuple):
    """A value, 0-d, and its derivatives by the inputs; None where no derivatives were asked for."""

    value: torch.Tensor
    first: torch.Tensor | None = None
    second: torch.Tensor | None = None
    scale: torch.Tensor | None = None
    extra: torch.Tensor | None = None


def differentiable(function: Callable[..., Contrast], *inputs: torch.Tensor) -> torch.Tensor:
    """Evaluate `function(*inputs, with_derivatives)` and make its value differentiable by the inputs.

    Args:
        function: gets the inputs detached, all of them in one precision, float32 at least, and whether derivatives
            are wanted, in the order of `Contrast`'s fields.
        inputs: tensors; those that require no gradient get none, the others one of their own dtype.

    Returns:
        0-d value. Differentiating it twice raises RuntimeError.
    """
    wanted = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    # Autocast would take the products to half precision.
    with torch.no_grad(), torch.autocast(inputs[0].device.type, enabled=False):
        full = full_precision(*(tensor.detach().contiguous() for tensor in inputs))
        value, *derivatives = function(*full, wanted)
    return _GivenDerivatives.apply(value, derivatives[: len(inputs)], *inputs) if wanted else value


class _GivenDerivatives(torch.autograd.Function):
    """The value on the way forward, its known derivatives on the way back."""

    @staticmethod
    def forward(ctx, value: torch.Tensor, derivatives: list[torch.Tensor], *inputs: torch.Tensor) -> torch.Tensor:
        needed = ctx.needs_input_grad[2:]
        kept = [d if need else None for d, need in zip(derivatives, needed, strict=True)]
        ctx.save_for_backward(*kept, *inputs)
        return value.clone()

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        count = len(ctx.saved_tensors) // 2
        derivatives, inputs = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        pairs = zip(derivatives, inputs, strict=True)
        return None, None, *(None if d is None else _Final.apply(gradient * d, tensor) for d, tensor in pairs)


class _Final(torch.autograd.Function):
    """A derivative that raises when it is differentiated in its turn, instead of passing for a constant."""

    @staticmethod
    def forward(ctx, derivative: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
        return derivative.view_as(derivative)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        raise RuntimeError(
            "The losses of hf_cloob form their gradient together with their value and cannot be differentiated "
            "twice (create_graph=True). hf_cloob.losses_dense has the same functions with all derivatives."
        )


def contrast(
    anchors: torch.Tensor,
    candidates: torch.Tensor,
    scale: torch.Tensor,
    blocks: Blocks,
    with_derivatives: bool,
    *,
    exclude_positive: bool,
    label_smoothing: float = 0.0,
    both_directions: bool = False,
) -> Contrast:
    """InfoNCE, or with `exclude_positive` InfoLOOB without its leading tau, in nats; the SUM over directions.

        L = sum over directions of mean_i [ log sum_j exp(t s_ij) - (1 - e) t s_ii - e t mean_j s_ij ]

    Args:
        anchors: (batch_size, projection_dim).
        candidates: (batch_size, projection_dim).
        scale: 0-d t.
        blocks: see `Blocks`.
        with_derivatives: also return the derivatives by anchors, candidates and t.
        exclude_positive: leave j = i out of the denominators.
        label_smoothing: e.
        both_directions: also from the candidates to the anchors.
    """
    length = len(anchors)
    if both_directions:
        *log_sums, anchor_products, candidate_products = two_way_softmax_products(
            anchors, candidates, scale, exclude_positive, blocks, with_derivatives
        )
    else:
        log_sums, anchor_products, candidate_products = softmax_products(
            anchors, candidates, scale, exclude_positive, blocks, with_derivatives
        )
        log_sums = [log_sums]
    directions, smooth = len(log_sums), label_smoothing
    anchor_mean, candidate_mean = anchors.mean(dim=0), candidates.mean(dim=0)
    positive_score = torch.linalg.vecdot(anchors, candidates).mean()
    # The log-sums are relative to the positives; smoothing moves a share of the target from them to the mean.
    moved = smooth * (positive_score - anchor_mean @ candidate_mean)
    value = sum(sums.mean() for sums in log_sums) + directions * scale * moved
    if not with_derivatives:
        return Contrast(value)
    by_scale = torch.linalg.vecdot(anchor_products, anchors).mean() - directions * (positive_score - moved)
    for products, others, mean in (
        (anchor_products, candidates, candidate_mean),
        (candidate_products, anchors, anchor_mean),
    ):
        products.sub_(others, alpha=directions * (1 - smooth))
        if smooth:
            products.sub_(mean, alpha=directions * smooth)
        products.mul_(scale / length)
    return Contrast(value, anchor_products, candidate_products, by_scale)


def contrast_of_retrieved(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    scale: torch.Tensor,
    hopfield_scale: torch.Tensor,
    blocks: Blocks,
    with_derivatives: bool,
    *,
    small_hopfield_scale: bool,
    exclude_positive: bool,
    label_smoothing: float = 0.0,
) -> Contrast:
    """`contrast` of (U_x, U_y) plus that of (V_y, V_x), U retrieved from the images x and V from the texts y.

    Arguments as in `contrast`, and `small_hopfield_scale` from `blockwise_retrieval.is_small`; `Contrast.extra` is the
    derivative by `hopfield_scale`.
    """

    def exponentials(first: Operand, second: Operand) -> Exponentials:
        shifts = retrieval_shifts(first.rows, second.rows, hopfield_scale, small_hopfield_scale, blocks)
        return Exponentials(first, second, hopfield_scale, shifts, blocks, keep=with_derivatives)

    images, texts = map(blocks.precision.operand, (image_embeds, text_embeds))
    of_images, of_texts, across = exponentials(images, images), exponentials(texts, texts), exponentials(images, texts)
    images_from_texts, texts_from_images = across.products()
    # Each memory's own query and the other modality's, (anchors, candidates); taken off the list to be freed in time.
    retrieved = [
        (of_texts.products()[0], images_from_texts),
        (of_images.products()[0], texts_from_images),
    ]
    del images_from_texts, texts_from_images
    derivatives, value, by_scale = [], 0.0, 0.0
    while retrieved:
        anchors, candidates = retrieved.pop()
        inverse_norms = _normalize_(anchors), _normalize_(candidates)
        result = contrast(
            anchors,
            candidates,
            scale,
            blocks,
            with_derivatives,
            exclude_positive=exclude_positive,
            label_smoothing=label_smoothing,
        )
        value = value + result.value
        if with_derivatives:
            by_scale = by_scale + result.scale
            for derivative, unit, inverse_norm in zip(result[1:3], (anchors, candidates), inverse_norms, strict=True):
                # Through the normalization: the part along the row does nothing.
                along = torch.linalg.vecdot(derivative, unit).unsqueeze(1)
                derivatives.append(derivative.addcmul_(unit, along, value=-1).mul_(inverse_norm))
    if not with_derivatives:
        return Contrast(value)

    del anchors, candidates, unit
    image_image, text_from_image, text_text, image_from_text = derivatives
    by_images, by_texts = torch.zeros_like(image_embeds), torch.zeros_like(text_embeds)
    by_hopfield_scale = across.add_derivatives((image_from_text, text_from_image), (by_images, by_texts))
    by_hopfield_scale += of_images.add_derivatives((image_image, image_image), (by_images, by_images))
    by_hopfield_scale += of_texts.add_derivatives((text_text, text_text), (by_texts, by_texts))
    blocks.sum_(by_images, by_texts, by_hopfield_scale)
    return Contrast(value, by_images, by_texts, by_scale, by_hopfield_scale.to(by_images.dtype))


def _normalize_(rows: torch.Tensor) -> torch.Tensor:
    """Scale rows to unit length in place; returns the factors (batch_size, 1), 0 for rows of zeros."""
    # In two steps: the squares of what a low shift leaves of a row can be too small for a number.
    largest = torch.linalg.vector_norm(rows, ord=math.inf, dim=1, keepdim=True)
    first = torch.where(largest > 0, 1 / largest, 0)
    rows.mul_(first)
    norms = rows.norm(dim=1, keepdim=True)
    second = torch.where(norms > 0, 1 / norms, 0)
    rows.mul_(second)
    return first * second
