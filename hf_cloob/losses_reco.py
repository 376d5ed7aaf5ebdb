# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The loss of retrieval-enhanced contrastive training: refined embeddings must work together and one-sided."""

import torch

from .blockwise import ALL_BLOCKS, Blocks
from .losses_contrastive import clip_loss


def reco_loss(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    refined_images: torch.Tensor,
    refined_texts: torch.Tensor,
    inverse_temperature: float | torch.Tensor,
    *,
    blocks: Blocks = ALL_BLOCKS,
) -> dict[str, torch.Tensor]:
    """Sum and terms of RECO's loss.

        L = NCE(x', y') + NCE(x', y) + NCE(x, y')

    NCE is CLIP's loss, the mean of both directions (`clip_loss`). The one-sided terms let a model refine one side.

    Args:
        image_embeds: (batch_size, projection_dim) x of the frozen encoder, L2-normalized.
        text_embeds: (batch_size, projection_dim) y of the frozen encoder, L2-normalized.
        refined_images: (batch_size, projection_dim) x', L2-normalized.
        refined_texts: (batch_size, projection_dim) y', L2-normalized.
        inverse_temperature: t.
        blocks: as in `clip_loss`.

    Returns:
        "loss" and its detached terms "refined_loss", "refined_image_loss", "refined_text_loss", 0-d, in nats.

    Raises:
        ValueError: as `clip_loss`.

    Source: Iscen et al. 2024 (RECO, arXiv 2306.07196), equation of L_RECO.
    """
    terms = {
        "refined_loss": clip_loss(refined_images, refined_texts, inverse_temperature, blocks=blocks),
        "refined_image_loss": clip_loss(refined_images, text_embeds, inverse_temperature, blocks=blocks),
        "refined_text_loss": clip_loss(image_embeds, refined_texts, inverse_temperature, blocks=blocks),
    }
    return {"loss": sum(terms.values()), **{name: term.detach() for name, term in terms.items()}}
