# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A CloobModel that is a SigLIP: its towers with their heads, its scale and its bias."""

import os

import torch
from transformers import AutoConfig, SiglipModel

from .modeling_cloob import CloobModel


def cloob_from_siglip(pretrained_model_name_or_path: str | os.PathLike, **kwargs) -> CloobModel:
    """Start from a SigLIP checkpoint: embeddings, scores and sigmoid loss equal SigLIP's.

    SigLIP has no projections: its towers' heads give the embeddings. Here they are towers with poolers, and both
    projections start as the identity, which changes no bit of an embedding and can be trained.

    Args:
        pretrained_model_name_or_path: folder or Hub id of a SigLIP checkpoint (of SigLIP 2, one of fixed resolution).
        kwargs: fields of [`CloobConfig`] (by default the sigmoid loss with the checkpoint's scale and bias), and
            `from_pretrained`'s arguments (revision, token, dtype, ...).

    Raises:
        ValueError: if the checkpoint is not a SigLIP, or fields contradict each other.

    Source: Zhai et al. 2023 (SigLIP, arXiv 2303.15343).
    """
    fields = {name: kwargs.pop(name) for name in list(kwargs) if name in CloobModel.config_class.__annotations__}
    found = AutoConfig.from_pretrained(pretrained_model_name_or_path, **_without_dtype(kwargs)).model_type
    if found != "siglip":
        raise ValueError(
            f"{str(pretrained_model_name_or_path)!r} is a {found!r} checkpoint: cloob_from_siglip takes 'siglip' "
            "checkpoints; CloobModel.from_clip takes CLIP's, from_vision_text_pretrained the towers of other models."
        )
    siglip = SiglipModel.from_pretrained(pretrained_model_name_or_path, **kwargs)
    width = siglip.config.text_config.projection_size
    objective = {
        "contrastive_loss": "sigmoid",
        "projection_dim": width,
        "logit_scale_init_value": siglip.logit_scale.item(),
        "logit_bias_init_value": siglip.logit_bias.item(),
        **fields,
    }
    if objective["projection_dim"] != width or objective.get("projection_type", "linear") != "linear":
        raise ValueError(f"projection_dim and projection_type must be {width} and 'linear', as the checkpoint's.")
    configs = {"text_config": siglip.config.text_config, "vision_config": siglip.config.vision_config}
    model = CloobModel._from_config(CloobModel.config_class(**configs, **objective), dtype=siglip.dtype)
    with torch.no_grad():
        for side in ("text_model", "vision_model"):
            getattr(model, side).load_state_dict(getattr(siglip, side).state_dict())
        for projection in (model.text_projection, model.visual_projection):
            torch.nn.init.eye_(projection.weight)
    return model


def _without_dtype(kwargs: dict) -> dict:
    return {name: value for name, value in kwargs.items() if name not in ("dtype", "attn_implementation")}
