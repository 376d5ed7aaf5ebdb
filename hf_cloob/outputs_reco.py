# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What RecoForZeroShot returns."""

from dataclasses import dataclass

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import ModelOutput

from .reco_memory import RecoNeighbors


@dataclass
class RecoOutput(ModelOutput):
    """Output of [`RecoForZeroShot`].

    Args:
        loss: 0-d, the sum of the three terms below over the global batch; with `return_loss=True` only.
        logits_per_image: (image_batch_size, text_batch_size), the base's t * cosine (+ bias of a SigLIP).
        logits_per_text: (text_batch_size, image_batch_size), its transpose.
        text_embeds: (text_batch_size, projection_dim), L2-normalized, refined if the configuration says so.
        image_embeds: (image_batch_size, projection_dim), the same of the images.
        text_model_output: output of the base's text tower; None for embeddings that were given.
        vision_model_output: output of the base's vision tower; None for embeddings that were given.
        refined_loss: 0-d, detached, both sides refined.
        refined_image_loss: 0-d, detached, refined images against the base's texts.
        refined_text_loss: 0-d, detached, the base's images against refined texts.
        image_neighbors: what the images found; with `return_neighbors=True` only.
        text_neighbors: what the texts found; with `return_neighbors=True` only.
    """

    loss: torch.FloatTensor | None = None
    logits_per_image: torch.FloatTensor | None = None
    logits_per_text: torch.FloatTensor | None = None
    text_embeds: torch.FloatTensor | None = None
    image_embeds: torch.FloatTensor | None = None
    text_model_output: BaseModelOutputWithPooling | None = None
    vision_model_output: BaseModelOutputWithPooling | None = None
    refined_loss: torch.FloatTensor | None = None
    refined_image_loss: torch.FloatTensor | None = None
    refined_text_loss: torch.FloatTensor | None = None
    image_neighbors: RecoNeighbors | None = None
    text_neighbors: RecoNeighbors | None = None

    def to_tuple(self) -> tuple:
        """All fields that are set, the towers' outputs as tuples too."""
        return tuple(value.to_tuple() if isinstance(value, ModelOutput) else value for value in self.values())
