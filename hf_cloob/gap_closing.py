# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Closing the gap after training: one fitted vector for each modality is subtracted from its normalized embeddings.

    x' = l2norm(l2norm(x) - image_offset),   y' = l2norm(l2norm(y) - text_offset)

The weights stay as they are, so a frozen CLIP gains as well, and the offsets are saved and published with the model:

    model = CloobModel.from_clip("a CLIP checkpoint")
    close_gap(model, model.encode_images(images, processor), model.encode_texts(captions, processor))
    model.save_pretrained("closed")
    processor.save_pretrained("closed")

The images and captions are a calibration set: never the ones that are measured afterwards.
"""

import torch
from torch import nn
from torch.nn.functional import normalize

from .configuration_cloob import GAP_CLOSINGS
from .validation import checked_finite, full_precision


def subtract_offset(embeds: torch.Tensor, offset: torch.Tensor | None) -> torch.Tensor:
    """l2norm(embeds) - offset, (batch_size, projection_dim) in at least float32, not normalized again.

    Without an offset the embeddings come back untouched.
    """
    if offset is None:
        return embeds
    embeds, offset = full_precision(embeds, offset)
    return normalize(embeds, dim=-1) - offset


@torch.no_grad()
def fit_offsets(
    image_embeds: torch.Tensor, text_embeds: torch.Tensor, method: str = "centering"
) -> tuple[torch.Tensor, torch.Tensor]:
    """The offsets that close the gap of a calibration set.

        "centering":  image_offset = mean_i x_i,   text_offset = mean_j y_j
        "shift":      image_offset = (mean_i x_i - mean_j y_j) / 2 = -text_offset

    Centering puts the mean of both modalities at 0, which also removes what all embeddings of a modality share. The
    shift moves both halfway towards each other along the gap vector and no further.

    Args:
        image_embeds: (num_images, projection_dim) of a calibration set, L2-normalized.
        text_embeds: (num_texts, projection_dim), L2-normalized; need not be as many, nor pairs.
        method: "centering" or "shift".

    Returns:
        image_offset and text_offset, (projection_dim,) each.

    Raises:
        ValueError: for an unknown method, no rows, unequal widths or non-finite values.

    Source: the shift is that of Liang et al. 2022 (arXiv 2203.02053), by the whole gap.
    """
    if method not in GAP_CLOSINGS:
        raise ValueError(f"method must be one of {', '.join(GAP_CLOSINGS)}, got {method!r}.")
    for name, embeds in (("image_embeds", image_embeds), ("text_embeds", text_embeds)):
        if embeds.dim() != 2 or not len(embeds):
            raise ValueError(f"{name} must be (rows, projection_dim), at least one row, got {tuple(embeds.shape)}.")
        checked_finite(embeds, name)
    if image_embeds.shape[1] != text_embeds.shape[1]:
        raise ValueError(
            f"image_embeds and text_embeds must share one projection_dim, got {image_embeds.shape[1]} and "
            f"{text_embeds.shape[1]}."
        )
    image_embeds, text_embeds = full_precision(image_embeds, text_embeds.to(image_embeds.device))
    image_mean, text_mean = image_embeds.mean(dim=0), text_embeds.mean(dim=0)
    if method == "centering":
        return image_mean, text_mean
    half_gap = (image_mean - text_mean) / 2
    return half_gap, -half_gap


def close_gap(
    model: nn.Module, image_embeds: torch.Tensor, text_embeds: torch.Tensor, method: str = "centering"
) -> None:
    """Fit the offsets of a [`CloobModel`] to a calibration set; from then on all its embeddings carry them.

    Sets the buffers `image_offset` and `text_offset` (projection_dim,) and `config.gap_closing`, which saving keeps.

    Args:
        model: a [`CloobModel`] whose gap is open; `CloobModel.from_clip` makes one of a CLIP.
        image_embeds: (num_images, projection_dim) of this model, L2-normalized.
        text_embeds: (num_texts, projection_dim) of this model, L2-normalized.
        method: "centering" or "shift", see `fit_offsets`.

    Raises:
        ValueError: for another model, for one whose gap is closed (its embeddings carry offsets already), for
            embeddings of another width, or as `fit_offsets`.
    """
    _check_closable(model)
    if model.config.gap_closing is not None:
        raise ValueError(
            f"The gap of this model is closed already (gap_closing={model.config.gap_closing!r}), and its embeddings "
            "show it: call open_gap(model) and embed the calibration set again."
        )
    offsets = fit_offsets(image_embeds, text_embeds, method)
    if len(offsets[0]) != model.config.projection_dim:
        raise ValueError(
            f"The embeddings have {len(offsets[0])} dimensions, those of this model {model.config.projection_dim}."
        )
    scale = model.log_inverse_temperature
    model.image_offset, model.text_offset = (offset.to(scale.device, scale.dtype) for offset in offsets)
    model.config.gap_closing = method


def open_gap(model: nn.Module) -> None:
    """Take the offsets out of a [`CloobModel`]: it embeds as it did before `close_gap`.

    Raises:
        ValueError: for another model.
    """
    _check_closable(model)
    model.image_offset = model.text_offset = None
    model.config.gap_closing = None


def _check_closable(model: nn.Module) -> None:
    if not (hasattr(model, "image_offset") and hasattr(model, "text_offset")):
        raise ValueError(
            f"Gaps are closed in a CloobModel, got a {type(model).__name__}: CloobModel.from_clip starts from a CLIP."
        )
