# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Tiny bases, saved as checkpoints, and memories that the tests of RECO share."""

from pathlib import Path

import torch
from tiny_models import CLIP_VISION, tiny_config, tiny_processor, tiny_tokenizer, tokenized_text_config
from torch.nn.functional import normalize
from transformers import (
    AutoConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    SiglipConfig,
    SiglipModel,
)

from hf_cloob import CloobModel, RecoForZeroShot, RecoMemory

FAMILIES = ("clip", "siglip", "cloob", "cloob_sigmoid")
SIGLIP_CONTEXT = 64
LABELS = ["a red apple", "two dogs run", "the sea", "a cat"]


def tiny_base(family: str, seed: int = 0):
    """A random model whose embeddings spread, so that wrong scores cannot hide behind equal ones."""
    torch.manual_seed(seed)
    text = tokenized_text_config(tiny_tokenizer(SIGLIP_CONTEXT if family == "siglip" else 77))
    if family.startswith("cloob"):
        loss = {"contrastive_loss": "sigmoid"} if family == "cloob_sigmoid" else {}
        model = CloobModel(tiny_config(text=text, **loss))
    elif family == "clip":
        configs = {"text_config": text | {"attention_dropout": 0.5}, "vision_config": CLIP_VISION}
        model = CLIPModel(AutoConfig.for_model("clip", **configs, projection_dim=16))
    else:
        vision = {name: value for name, value in CLIP_VISION.items() if name != "model_type"}
        text = {name: value for name, value in text.items() if name != "model_type"} | {"projection_size": 32}
        model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
        torch.nn.init.constant_(model.logit_scale, 2.0)
        torch.nn.init.constant_(model.logit_bias, -1.5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
    return model.eval()


def tiny_base_processor(family: str):
    """The processor that goes with `tiny_base`."""
    if family.startswith("cloob"):
        return tiny_processor()
    tokenizer = tiny_tokenizer(SIGLIP_CONTEXT if family == "siglip" else 77)
    size = {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}}
    return CLIPProcessor(CLIPImageProcessor(**size), tokenizer)


def save_base(family: str, folder: Path, seed: int = 0) -> Path:
    """A checkpoint of a base with its processor."""
    tiny_base(family, seed).save_pretrained(folder / family)
    tiny_base_processor(family).save_pretrained(folder / family)
    return folder / family


def unit_rows(rows: int, projection_dim: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(rows, projection_dim, generator=generator), dim=1)


def random_memory(size: int = 40, projection_dim: int = 16, seed: int = 5, **fields) -> RecoMemory:
    captions = fields.pop("captions", [f"caption {row}" for row in range(size)])
    sides = unit_rows(size, projection_dim, seed), unit_rows(size, projection_dim, seed + 1)
    return RecoMemory(*sides, captions=captions, **fields)


def stir(model: RecoForZeroShot, seed: int = 7) -> RecoForZeroShot:
    """Give the fusion layers weights as after training: nothing is zero, and both differ."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for fusion in (model.image_fusion, model.text_fusion):
            # From far below every cosine no gradient would move it.
            fusion.readout_null_score.fill_(0.2)
            for parameter in fusion.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator).to(parameter))
    return model


def inputs_of(family: str, images: int = 3) -> dict[str, torch.Tensor]:
    """Images, and labels padded as each family was trained."""
    padding = {"padding": "max_length", "max_length": SIGLIP_CONTEXT} if family == "siglip" else {"padding": True}
    texts = tiny_base_processor(family).tokenizer(LABELS, return_tensors="pt", **padding)
    pixels = torch.randn(images, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return {**texts, "pixel_values": pixels}


def memory_for(model: RecoForZeroShot, size: int = 40, **fields) -> RecoMemory:
    return random_memory(size, model.config.projection_dim, **fields)
