# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Where images and texts lie in the shared space."""

import torch

from .ranking import check_embeds, check_same_dim


@torch.no_grad()
def modality_gap(image_embeds: torch.Tensor, text_embeds: torch.Tensor) -> float:
    """Distance between the centers of the image and of the text embeddings, from 0 (no gap) to 2.

    gap = ‖ mean_i image_embeds_i − mean_j text_embeds_j ‖

    Args:
        image_embeds: (num_images, projection_dim), rows L2-normalized.
        text_embeds: (num_texts, projection_dim), rows L2-normalized; the numbers may differ.

    Raises:
        ValueError: embeddings of different projection_dim, not finite or not normalized.

    Source: the centroid distance of Liang et al. 2022 (arXiv 2203.02053) and Fahim et al. 2024 (arXiv 2405.18570).
    """
    image_embeds, text_embeds = check_embeds("image_embeds", image_embeds), check_embeds("text_embeds", text_embeds)
    check_same_dim(image_embeds=image_embeds, text_embeds=text_embeds)
    difference = image_embeds.double().mean(dim=0) - text_embeds.to(image_embeds.device).double().mean(dim=0)
    return float(difference.norm())
