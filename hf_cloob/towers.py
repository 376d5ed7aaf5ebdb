# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Towers: any vision or text model of transformers; CLIP's start from the released CLIP's initialization."""

import math

import torch
from torch import nn
from transformers import (
    MODEL_MAPPING,
    AutoModel,
    CLIPTextModel,
    CLIPVisionModel,
    PreTrainedConfig,
    PreTrainedModel,
    SiglipTextModel,
)
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.clip.modeling_clip import CLIPMLP, CLIPAttention

from .quick_gelu import QuickGELU
from .text_packing import pack_texts

# Parameters that a tower owns but its forward, without masking or without its pooled output, never uses. They must
# not require a gradient: DistributedDataParallel waits for every parameter that does.
UNUSED_WITHOUT_MASKING = ("mask_token", "embeddings.mask_token")
UNUSED_WITHOUT_POOLER = {
    "aimv2_vision_model": "head",
    "chinese_clip_vision_model": "post_layernorm",
    "clip_vision_model": "post_layernorm",
    "convnext": "layernorm",
    "convnextv2": "layernorm",
    "mlcd_vision_model": "post_layernorm",
    "siglip_text_model": "head",
    "siglip_vision_model": "head",
}
# Convolutional towers whose configuration does not tell their width: the layer that does.
LAST_CONVOLUTIONS = {
    "efficientnet": "encoder.top_conv",
    "mobilenet_v1": "layer.25.convolution",
    "mobilenet_v2": "conv_1x1.convolution",
    "mobilevit": "conv_1x1_exp.convolution",
}
MAIN_INPUTS = {"text": "input_ids", "vision": "pixel_values"}
# Towers that AutoModel does not know on their own.
TOWERS_OF_DUAL_ENCODERS = {"siglip_text_model": SiglipTextModel}


class _ReleasedInitialization:
    """The initialization of OpenAI's CLIP code: `_released_init` draws a module by the last part of its name.

    transformers gives the query, key and value projections the standard deviation that the released code gives the
    output projection and the other way round, and draws text positions at twice the released width.
    """

    def __init__(self, config: PreTrainedConfig):
        super().__init__(config)
        if config.hidden_act == "quick_gelu":
            for module in self.modules():
                if isinstance(module, CLIPMLP):
                    module.activation_fn = QuickGELU()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # A parent comes after its children. These two would draw their children's weights once more.
        if isinstance(module, (CLIPAttention, CLIPMLP)):
            return
        super()._init_weights(module)
        name = next(name for name, child in self.named_modules() if child is module)
        self._released_init(module, name.rsplit(".", 1)[-1])


class CLIPTextTower(_ReleasedInitialization, CLIPTextModel):
    """CLIP's text transformer with the released initialization: all weights normal, scaled by width and depth.

    While training it computes no padding: the states there are zeros. All other states are as CLIPTextModel's.
    """

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPooling:
        """As CLIPTextModel's."""
        if not self._may_pack(attention_mask, position_ids, kwargs):
            return super().forward(input_ids, attention_mask, position_ids, **kwargs)
        # CLIPTextModel's own rule: the first end token, or the largest id where an old configuration calls it 2.
        eos = self.eos_token_id
        ends = input_ids.argmax(dim=1) if eos == 2 else (input_ids == eos).int().argmax(dim=1)
        packed = pack_texts(input_ids, attention_mask, ends, self.config.max_position_embeddings)
        if packed is None:
            return super().forward(input_ids, attention_mask, position_ids, **kwargs)
        outputs = super().forward(packed.input_ids, packed.attention_mask, packed.position_ids, **kwargs)
        states = packed.unpacked(outputs.last_hidden_state)
        pooled = states[torch.arange(len(states), device=states.device), ends]
        return BaseModelOutputWithPooling(last_hidden_state=states, pooler_output=pooled)

    def _may_pack(self, attention_mask: torch.Tensor | None, position_ids: torch.Tensor | None, kwargs: dict) -> bool:
        """Whether the states of the last layer are all that is wanted, and the attention takes a mask of its own."""
        config = self.config
        recorded = [kwargs.get(name, getattr(config, name)) for name in ("output_hidden_states", "output_attentions")]
        return (
            self.training
            and attention_mask is not None
            and attention_mask.dim() == 2
            and position_ids is None
            and config._attn_implementation == "sdpa"
            and not any(recorded)
            and kwargs.get("return_dict", config.return_dict)
            and not torch.compiler.is_compiling()
        )

    def _released_init(self, module: nn.Module, name: str) -> None:
        width = self.config.hidden_size
        residual_std = width**-0.5 * (2 * self.config.num_hidden_layers) ** -0.5
        if name == "embeddings":
            init.normal_(module.token_embedding.weight, std=0.02)
            init.normal_(module.position_embedding.weight, std=0.01)
        stds = {
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
            _uniform_by_fan_in(module.patch_embedding.weight, module.patch_embedding.weight[0].numel())
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


def build_tower(config: PreTrainedConfig, side: str, pooling: str) -> PreTrainedModel:
    """Build a randomly initialized tower from its configuration.

    Args:
        config: configuration of any transformers model that AutoModel knows.
        side: "text" or "vision".
        pooling: how its states will be pooled; parts that this leaves unused are dropped or frozen.

    Raises:
        ValueError: for an encoder-decoder, a dual encoder, a model that AutoModel does not know, or one that takes
            the other side's inputs.
    """
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError(f"A {config.model_type!r} model has a decoder: use an encoder-only model as a tower.")
    if hasattr(config, "text_config") and hasattr(config, "vision_config"):
        raise ValueError(f"A {config.model_type!r} model has two towers: give its {side}_config as {side}_config.")
    if config.model_type == "clip_text_model":
        tower = CLIPTextTower._from_config(config)
    elif config.model_type == "clip_vision_model":
        tower = CLIPVisionTower._from_config(config)
    elif config.model_type in TOWERS_OF_DUAL_ENCODERS:
        tower = TOWERS_OF_DUAL_ENCODERS[config.model_type]._from_config(config)
    elif type(config) in MODEL_MAPPING:
        tower = AutoModel.from_config(config)
    else:
        raise ValueError(f"A {config.model_type!r} model cannot be a tower: transformers' AutoModel does not know it.")
    if tower.main_input_name != MAIN_INPUTS[side]:
        raise ValueError(
            f"A {config.model_type!r} model takes {tower.main_input_name} and cannot be the {side} tower, which takes "
            f"{MAIN_INPUTS[side]}."
        )
    freeze_unused(tower, pooling)
    return tower


def freeze_unused(tower: PreTrainedModel, pooling: str) -> None:
    """Drop the pooler, or freeze the parts, that a tower's forward leaves without a gradient under this pooling."""
    unused = list(UNUSED_WITHOUT_MASKING)
    if pooling not in ("auto", "pooler"):
        # A pooler without parameters, as ResNet's, is part of the forward pass and does no harm.
        pooler = getattr(tower, "pooler", None)
        if isinstance(pooler, nn.Module) and any(True for _ in pooler.parameters()):
            tower.pooler = None
        unused.append(UNUSED_WITHOUT_POOLER.get(tower.config.model_type, "pooler"))
    for name, parameter in tower.named_parameters():
        if any(f"{name}.".startswith(f"{part}.") for part in unused):
            parameter.requires_grad_(False)


def pooled_width(tower: PreTrainedModel, pooling: str) -> int:
    """Width of a tower's states after pooling.

    Raises:
        ValueError: if the configuration names it in none of the ways that transformers' towers do.
    """
    config = tower.config
    if config.model_type in LAST_CONVOLUTIONS:
        return tower.get_submodule(LAST_CONVOLUTIONS[config.model_type]).out_channels
    if config.model_type == "siglip_text_model" and pooling in ("auto", "pooler"):
        return config.projection_size
    if config.model_type in ("resnet", "regnet", "convnext", "convnextv2", "poolformer", "dinov3_convnext"):
        return config.hidden_sizes[-1]
    for name in ("hidden_size", "hidden_dim", "d_model", "dim"):
        if isinstance(width := getattr(config, name, None), int):
            return width
    for name in ("hidden_sizes", "embed_dims", "embed_dim"):
        if isinstance(widths := getattr(config, name, None), (list, tuple)):
            return widths[-1]
    raise ValueError(f"Cannot tell the pooled width of a {config.model_type!r} tower: it has no hidden_size.")


def pad_to_context(input_ids: torch.Tensor, attention_mask: torch.Tensor | None, config: PreTrainedConfig):
    """Return the tokens padded as SigLIP's text tower was trained, and no mask: it sees its padding.

    Its pooled output is the state of the LAST place, padding included, so with less padding a text's embedding would
    depend on the longest text of its batch.
    """
    if attention_mask is not None:
        input_ids = input_ids.masked_fill(attention_mask == 0, config.pad_token_id)
    missing = config.max_position_embeddings - input_ids.shape[1]
    return nn.functional.pad(input_ids, (0, missing), value=config.pad_token_id), None
