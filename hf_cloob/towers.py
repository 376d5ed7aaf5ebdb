# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Towers: any vision or text model of transformers; CLIP's start from the released CLIP's initialization."""

import math

import torch
from torch import nn
from transformers import AutoModel, CLIPTextModel, CLIPVisionModel, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.models.clip.modeling_clip import CLIPMLP, CLIPAttention

# Parameters that some towers own but a forward without masking or without their pooled output never uses. They must
# not require a gradient: DistributedDataParallel waits for every parameter that does.
UNUSED_WITHOUT_MASKING = ("mask_token",)
UNUSED_WITHOUT_POOLER = ("pooler", "head", "post_layernorm")


class _ReleasedInitialization:
    """The initialization of OpenAI's CLIP code: `_released_init` draws a module by the last part of its name.

    transformers gives the query, key and value projections the standard deviation that the released code gives the
    output projection and the other way round, and draws text positions at twice the released width.
    """

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # These two re-draw their children's weights, which the children's own turn has already drawn.
        if isinstance(module, (CLIPAttention, CLIPMLP)):
            return
        super()._init_weights(module)
        if not hasattr(self, "_names_of_modules"):
            self._names_of_modules = {id(child): name for name, child in self.named_modules()}
        self._released_init(module, self._names_of_modules[id(module)].rsplit(".", 1)[-1])


class CLIPTextTower(_ReleasedInitialization, CLIPTextModel):
    """CLIP's text transformer with the released initialization: all weights normal, scaled by width and depth."""

    def _released_init(self, module: nn.Module, name: str) -> None:
        width = self.config.hidden_size
        residual_std = width**-0.5 * (2 * self.config.num_hidden_layers) ** -0.5
        stds = {
            "token_embedding": 0.02,
            "position_embedding": 0.01,
            **dict.fromkeys(("q_proj", "k_proj", "v_proj"), width**-0.5),
            "out_proj": residual_std,
            "fc1": (2 * width) ** -0.5,
            "fc2": residual_std,
        }
        if name in stds:
            init.normal_(module.weight, std=stds[name])
        if name in ("fc1", "fc2"):
            _uniform_by_fan_in(module.bias, module.in_features)


class CLIPVisionTower(_ReleasedInitialization, CLIPVisionModel):
    """CLIP's vision transformer with the released initialization: torch's defaults, embeddings scaled by width."""

    def _released_init(self, module: nn.Module, name: str) -> None:
        std = self.config.hidden_size**-0.5
        if name == "embeddings":
            init.normal_(module.class_embedding, std=std)
            init.normal_(module.position_embedding.weight, std=std)
        elif name == "patch_embedding":
            _uniform_by_fan_in(module.weight, module.weight[0].numel())
        elif name in ("q_proj", "k_proj", "v_proj"):
            # torch's attention draws the three as ONE Xavier matrix of shape (3 width, width).
            bound = math.sqrt(6 / (4 * module.in_features))
            init.uniform_(module.weight, -bound, bound)
        elif name == "out_proj":
            _uniform_by_fan_in(module.weight, module.in_features)
        elif name in ("fc1", "fc2"):
            _uniform_by_fan_in(module.weight, module.in_features)
            _uniform_by_fan_in(module.bias, module.in_features)


def _uniform_by_fan_in(tensor: torch.Tensor, fan_in: int) -> None:
    """torch's default for linear and convolutional layers."""
    init.uniform_(tensor, -(fan_in**-0.5), fan_in**-0.5)


def build_tower(config: PreTrainedConfig, pooling: str) -> PreTrainedModel:
    """Build a randomly initialized tower from its configuration.

    Args:
        config: configuration of any transformers model that AutoModel knows.
        pooling: how its states will be pooled; parts that this leaves unused are dropped or frozen.

    Raises:
        ValueError: for an encoder-decoder or a model that AutoModel does not know.
    """
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError(f"A {config.model_type!r} model has a decoder: use an encoder-only model as a tower.")
    if config.model_type == "clip_text_model":
        tower = CLIPTextTower._from_config(config)
    elif config.model_type == "clip_vision_model":
        tower = CLIPVisionTower._from_config(config)
    else:
        tower = AutoModel.from_config(config)
    unused = UNUSED_WITHOUT_MASKING
    if pooling not in ("auto", "pooler"):
        if isinstance(getattr(tower, "pooler", None), nn.Module):
            tower.pooler = None
        unused += UNUSED_WITHOUT_POOLER
    for name, parameter in tower.named_parameters():
        if any(part in unused for part in name.split(".")[:2]):
            parameter.requires_grad_(False)
    return tower


def pooled_width(config: PreTrainedConfig) -> int:
    """Width of a tower's pooled output.

    Raises:
        ValueError: if the configuration names it in none of the ways that transformers' towers do.
    """
    if config.model_type in ("resnet", "regnet", "convnext", "convnextv2", "poolformer", "dinov3_convnext"):
        return config.hidden_sizes[-1]
    for name in ("hidden_size", "hidden_dim", "d_model", "dim"):
        if isinstance(width := getattr(config, name, None), int):
            return width
    if hidden_sizes := getattr(config, "hidden_sizes", None):
        return hidden_sizes[-1]
    raise ValueError(f"Cannot tell the pooled width of a {config.model_type!r} tower: it has no hidden_size.")
