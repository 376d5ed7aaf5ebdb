# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""From a tower's states to one vector: the tower's own pooled output, a mean, the first or the last token."""

import torch
from transformers.utils import ModelOutput


def pool_text(outputs: ModelOutput, attention_mask: torch.Tensor | None, pooling: str) -> torch.Tensor:
    """Pool token states.

    Args:
        outputs: output of a text tower, `last_hidden_state` (batch_size, num_tokens, width).
        attention_mask: (batch_size, num_tokens), 1 for tokens and 0 for padding; None if nothing is padded.
        pooling: "auto", "pooler", "mean", "first" or "last" (unmasked token), see `CloobConfig.text_pooling`.

    Returns:
        (batch_size, width).

    Raises:
        ValueError: for "pooler" when the tower has no pooled output.
    """
    if pooling in ("auto", "pooler"):
        pooled = _own_pooled_output(outputs, pooling)
        if pooled is not None:
            return pooled
    states = outputs.last_hidden_state
    if attention_mask is None:
        attention_mask = torch.ones(states.shape[:2], dtype=torch.long, device=states.device)
    if pooling in ("first", "last"):
        # argmax takes the first of equals: the first unmasked token, or the last one counted from the end.
        mask = attention_mask.long()
        place = mask.argmax(dim=1) if pooling == "first" else mask.shape[1] - 1 - mask.flip(1).argmax(dim=1)
        return states[torch.arange(states.shape[0], device=states.device), place]
    weights = attention_mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1)


def pool_image(outputs: ModelOutput, pooling: str) -> torch.Tensor:
    """Pool the states of a vision tower.

    Args:
        outputs: output of a vision tower; states (batch_size, num_patches, width) or (batch_size, width, height,
            width of the map).
        pooling: "auto", "pooler", "mean" or "first", see `CloobConfig.vision_pooling`.

    Returns:
        (batch_size, width).

    Raises:
        ValueError: for "pooler" when the tower has no pooled output, or "first" on a convolutional map.
    """
    if pooling in ("auto", "pooler"):
        pooled = _own_pooled_output(outputs, pooling)
        if pooled is not None:
            return pooled.mean(dim=(2, 3)) if pooled.dim() == 4 else pooled
    states = outputs.last_hidden_state
    if states.dim() == 4:
        if pooling == "first":
            raise ValueError("vision_pooling='first' needs a tower of patch tokens, this one returns a feature map.")
        return states.mean(dim=(2, 3))
    return states[:, 0] if pooling == "first" else states.mean(dim=1)


def _own_pooled_output(outputs: ModelOutput, pooling: str) -> torch.Tensor | None:
    pooled = getattr(outputs, "pooler_output", None)
    if pooled is None and pooling == "pooler":
        raise ValueError("pooling='pooler' needs a tower with a pooled output; this one has none: use 'mean'.")
    return pooled
