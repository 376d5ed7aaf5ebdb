# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""RecoConfig: a frozen dual encoder, how many neighbors it looks up, and the memory that travels with it."""

import copy
import difflib
import math

from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import strict

from .configuration_cloob import CloobConfig

BASE_MODEL_TYPES = ("clip", "siglip", "cloob")
MEMORY_DTYPES = ("float16",)
# As in CLIP: attention heads of 64 dimensions, a hidden layer four times as wide.
HEAD_DIM = 64
HIDDEN_FACTOR = 4
# A threshold so far below every cosine that the null entry gets a weight of exactly 0, at every scale above 0.1.
NO_NULL_ENTRY = -1e4


@strict
class RecoConfig(PreTrainedConfig):
    r"""Configuration of a [`RecoForZeroShot`]: its base, its two fusion layers and the memory beside its weights.

    Args:
        base_config: configuration (or dict with `model_type`) of a CLIP, SigLIP or CLOOB model; CLIP's by default.
            A configuration object is copied, never shared with another model.
        num_neighbors: k, memory entries that every query looks up.
        refine_image: whether the memory refines image embeddings. It may be switched at any time: training always
            uses all three terms of the loss.
        refine_text: the same for text embeddings.
        fusion_num_heads: attention heads of a fusion layer; by default as many as give heads of 64 dimensions.
        fusion_hidden_dim: hidden width of a fusion layer; by default four times the base's projection_dim.
        readout_weight_init_value: a of the fusion layers' Hopfield readout before training. 0, the default, leaves
            embeddings as they are; with a > 0 an untrained model is the training-free readout.
        readout_scale_init_value: its inverse temperature b before training.
        readout_null_score_init_value: s_0 of its null entry before training, the cosine below which neighbors count as
            not found. The default, far below every cosine, switches the null entry off.
        memory_size: entries of the memory saved beside the weights, None if there is none. `save_pretrained` sets it.
        memory_dtype: number format of that memory on disk, "float16".
        memory_fingerprint: fingerprint of the base encoder; another encoder's memory is refused.

    Raises:
        ValueError: for a base of another kind, a number out of range, or a misspelt keyword.

    Source: Iscen et al. 2024 (RECO, arXiv 2306.07196); one layer and k = 10 are the paper's.
    """

    model_type = "reco"
    sub_configs = {"base_config": AutoConfig}
    _auto_class = "AutoConfig"

    base_config: PreTrainedConfig | dict | None = None
    num_neighbors: int = 10
    refine_image: bool = True
    refine_text: bool = True
    fusion_num_heads: int | None = None
    fusion_hidden_dim: int | None = None
    readout_weight_init_value: float = 0.0
    readout_scale_init_value: float = 20.0
    readout_null_score_init_value: float = NO_NULL_ENTRY
    memory_size: int | None = None
    memory_dtype: str = "float16"
    memory_fingerprint: str | None = None

    def __post_init__(self, **kwargs):
        self._reject_misspelt(kwargs)
        self.base_config = _own_base_config(self.base_config)
        if self.fusion_num_heads is None:
            self.fusion_num_heads = max(1, self.projection_dim // HEAD_DIM)
        if self.fusion_hidden_dim is None:
            self.fusion_hidden_dim = HIDDEN_FACTOR * self.projection_dim
        super().__post_init__(**kwargs)
        self.check_fields()

    @property
    def projection_dim(self) -> int:
        """Width of the base's embedding space."""
        if self.base_config.model_type == "siglip":
            return self.base_config.text_config.projection_size
        return self.base_config.projection_dim

    @property
    def text_config(self) -> PreTrainedConfig:
        """Configuration of the base's text tower."""
        return self.base_config.text_config

    @property
    def vision_config(self) -> PreTrainedConfig:
        """Configuration of the base's vision tower."""
        return self.base_config.vision_config

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs) -> tuple[dict, dict]:
        """As transformers', but another model's configuration is an error: it would give random weights."""
        config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        found = config_dict.get("model_type", cls.model_type)
        if found != cls.model_type:
            raise ValueError(
                f"{str(pretrained_model_name_or_path)!r} holds a {found!r} model, not a {cls.model_type!r} one: "
                "RecoForZeroShot.from_base attaches fusion layers to it."
            )
        return config_dict, kwargs

    def check_fields(self) -> None:
        """Raise ValueError for an illegal value; also called when a model is built from the configuration."""
        if self.num_neighbors < 0:
            raise ValueError(f"num_neighbors must be at least 0, got {self.num_neighbors}.")
        if not (self.refine_image or self.refine_text):
            raise ValueError(
                "refine_image=False and refine_text=False leave the memory nothing to do: refine one side at least, "
                "or set no memory."
            )
        if self.fusion_num_heads < 1 or self.projection_dim % self.fusion_num_heads:
            raise ValueError(
                f"fusion_num_heads must divide the base's projection_dim {self.projection_dim}, got "
                f"{self.fusion_num_heads}."
            )
        if self.fusion_hidden_dim < 1:
            raise ValueError(f"fusion_hidden_dim must be at least 1, got {self.fusion_hidden_dim}.")
        for name in ("readout_weight_init_value", "readout_null_score_init_value"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be a finite number, got {getattr(self, name)}.")
        if not 0 < self.readout_scale_init_value < math.inf:
            raise ValueError(
                f"readout_scale_init_value must be a finite number above 0, got {self.readout_scale_init_value}."
            )
        if self.memory_size is not None and self.memory_size < 1:
            raise ValueError(f"memory_size must be at least 1, or None for no memory, got {self.memory_size}.")
        if self.memory_dtype not in MEMORY_DTYPES:
            raise ValueError(f"memory_dtype must be one of {', '.join(MEMORY_DTYPES)}, got {self.memory_dtype!r}.")

    @classmethod
    def _reject_misspelt(cls, keywords: dict) -> None:
        """transformers keeps unknown keywords silently; one that nearly is a field of ours is a typing error."""
        own_fields = [name for name in cls.__annotations__ if not name.startswith("_")]
        for keyword in keywords:
            close = difflib.get_close_matches(keyword, own_fields, n=1, cutoff=0.85)
            if close:
                raise ValueError(f"RecoConfig has no field {keyword!r}: did you mean {close[0]!r}?")


def _own_base_config(base_config: PreTrainedConfig | dict | None) -> PreTrainedConfig:
    """A copy of the base's configuration, resolved without the Auto classes where they may not know it."""
    # A shared object would let the other model's attention setting change ours, and ours change its.
    fields = base_config.to_dict() if isinstance(base_config, PreTrainedConfig) else copy.deepcopy(base_config or {})
    model_type = fields.pop("model_type", "clip")
    if model_type not in BASE_MODEL_TYPES:
        raise ValueError(
            f"A {model_type!r} model cannot be the base: RecoForZeroShot takes {', '.join(BASE_MODEL_TYPES)} models."
        )
    # Where the base's own code was saved; ours is saved with this configuration.
    fields.pop("auto_map", None)
    # Remote code is not registered with AutoConfig, and a CLOOB base must work there too.
    return CloobConfig(**fields) if model_type == "cloob" else AutoConfig.for_model(model_type, **fields)


__all__ = ["RecoConfig"]
