# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What the CLOOB models return."""

from dataclasses import dataclass

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import ModelOutput


@dataclass
class CloobOutput(ModelOutput):
    """Output of [`CloobModel`].

    Args:
        loss: 0-d, the weighted total over the global batch; with `return_loss=True` only.
        logits_per_image: (image_batch_size, text_batch_size), t * cosine (+ bias for "sigmoid"), local batch.
        logits_per_text: (text_batch_size, image_batch_size), its transpose.
        text_embeds: (text_batch_size, projection_dim), L2-normalized.
        image_embeds: (image_batch_size, projection_dim), L2-normalized.
        text_model_output: output of the text tower; its pooler_output is the projected embedding, not normalized.
        vision_model_output: the same of the vision tower.
        contrastive_loss: 0-d, unweighted, detached part of the loss.
        alignment_loss: 0-d, unweighted, detached; None when its weight is 0.
        uniformity_loss: 0-d, mean over both modalities, unweighted, detached; None when its weight is 0.
        cross_modal_uniformity_loss: 0-d, unweighted, detached; None when its weight is 0.
    """

    loss: torch.FloatTensor | None = None
    logits_per_image: torch.FloatTensor | None = None
    logits_per_text: torch.FloatTensor | None = None
    text_embeds: torch.FloatTensor | None = None
    image_embeds: torch.FloatTensor | None = None
    text_model_output: BaseModelOutputWithPooling | None = None
    vision_model_output: BaseModelOutputWithPooling | None = None
    contrastive_loss: torch.FloatTensor | None = None
    alignment_loss: torch.FloatTensor | None = None
    uniformity_loss: torch.FloatTensor | None = None
    cross_modal_uniformity_loss: torch.FloatTensor | None = None

    def to_tuple(self) -> tuple:
        """All fields that are set, the towers' outputs as tuples too."""
        return tuple(value.to_tuple() if isinstance(value, ModelOutput) else value for value in self.values())


@dataclass
class CloobTextModelOutput(ModelOutput):
    """Output of [`CloobTextModelWithProjection`].

    Args:
        text_embeds: (batch_size, projection_dim), projected and not normalized, as CLIP's.
        last_hidden_state: (batch_size, num_tokens, width).
        hidden_states: one (batch_size, num_tokens, width) per layer, if asked for.
        attentions: one (batch_size, num_heads, num_tokens, num_tokens) per layer, if asked for.
    """

    text_embeds: torch.FloatTensor | None = None
    last_hidden_state: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class CloobVisionModelOutput(ModelOutput):
    """Output of [`CloobVisionModelWithProjection`].

    Args:
        image_embeds: (batch_size, projection_dim), projected and not normalized, as CLIP's.
        last_hidden_state: states of the tower.
        hidden_states: states of every layer, if asked for.
        attentions: attention weights of every layer, if asked for.
    """

    image_embeds: torch.FloatTensor | None = None
    last_hidden_state: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
