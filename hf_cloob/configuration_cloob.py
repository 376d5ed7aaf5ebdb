# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""CloobConfig: two towers, their projections and the contrastive objective."""

import copy
import difflib
import math

from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import strict

CONTRASTIVE_LOSSES = ("infoloob", "infonce", "sigmoid")
DEFAULT_TOWERS = {"text_config": "clip_text_model", "vision_config": "clip_vision_model"}
PROJECTION_TYPES = ("linear", "mlp")
POOLINGS = ("auto", "pooler", "mean", "first", "last")
GAP_CLOSINGS = ("centering", "shift")
DEFAULT_HOPFIELD_SCALE = 8.0
DEFAULT_LOGIT_SCALES = {"infoloob": math.log(30.0), "infonce": math.log(1 / 0.07), "sigmoid": math.log(10.0)}
MAX_LOGIT_SCALE_INIT_VALUE = 10.0
REGULARIZER_WEIGHTS = ("alignment_weight", "uniformity_weight", "cross_modal_uniformity_weight")


@strict
class CloobConfig(PreTrainedConfig):
    r"""Configuration of a [`CloobModel`]: any vision tower, any text tower, retrieval and a contrastive loss.

    Args:
        text_config: configuration (or dict with `model_type`) of the text tower; CLIP's text tower by default.
        vision_config: configuration (or dict with `model_type`) of the vision tower; CLIP's ViT by default.
            Configuration objects are copied, never shared with another model.
        projection_dim: width of the shared embedding space.
        projection_type: "linear" (no bias, as CLIP) or "mlp" (linear, GELU, linear; both with bias).
        projection_hidden_dim: hidden width of the "mlp" projection; by default four times projection_dim.
        text_pooling: how token states become one vector: "auto" (the tower's own pooled output, otherwise the mean
            over unmasked tokens), "pooler", "mean", "first" or "last" (last unmasked token).
        vision_pooling: the same for the vision tower; "mean" is over all patches, "last" does not exist.
        contrastive_loss: "infoloob", "infonce" or "sigmoid".
        hopfield_scale: beta of the Hopfield retrieval during training, or None for no retrieval. "auto" means 8.0 for
            "infoloob" and None otherwise and is resolved on construction. Inference never retrieves.
        logit_scale_init_value: natural logarithm of the inverse temperature t. None means log 30 for "infoloob",
            log(1/0.07) for "infonce", log 10 for "sigmoid".
        learn_logit_scale: whether t is learned. None means False for "infoloob", otherwise True. A learned t of
            "infonce" and "infoloob" is kept in [1, 100].
        logit_bias_init_value: start of the learned bias of the sigmoid loss; not used by the other losses.
        alignment_weight: weight of `alignment_loss` on top of the contrastive loss.
        uniformity_weight: weight of the mean of both modalities' `uniformity_loss`.
        cross_modal_uniformity_weight: weight of `cross_modal_uniformity_loss`. With "infoloob" the three weights are
            multiplied by 2/t, so that weight 1 means the same under every objective.
        label_smoothing: label smoothing of "infonce", in [0, 1).
        gap_closing: None, or how `close_gap` fitted the offsets that the embeddings carry: "centering" or "shift".

    Raises:
        ValueError: for an unknown name, a value out of range, a misspelt keyword, retrieval with "sigmoid", or label
            smoothing without "infonce".

    Source: defaults of the released CLOOB code (CC3M: t = 30 fixed, beta = 8), CLIP and SigLIP.
    """

    model_type = "cloob"
    # Not `sub_configs_defaults`: transformers knows it from 5.20 on.
    sub_configs = {"text_config": AutoConfig, "vision_config": AutoConfig}
    _auto_class = "AutoConfig"

    text_config: PreTrainedConfig | dict | None = None
    vision_config: PreTrainedConfig | dict | None = None
    projection_dim: int = 512
    projection_type: str = "linear"
    projection_hidden_dim: int | None = None
    text_pooling: str = "auto"
    vision_pooling: str = "auto"
    contrastive_loss: str = "infoloob"
    hopfield_scale: float | int | str | None = "auto"
    logit_scale_init_value: float | int | None = None
    learn_logit_scale: bool | None = None
    logit_bias_init_value: float | int = -10.0
    alignment_weight: float | int = 0.0
    uniformity_weight: float | int = 0.0
    cross_modal_uniformity_weight: float | int = 0.0
    label_smoothing: float | int = 0.0
    gap_closing: str | None = None

    def __post_init__(self, **kwargs):
        self._reject_misspelt(kwargs)
        for name, model_type in DEFAULT_TOWERS.items():
            tower_config = getattr(self, name)
            # A shared object would let the other model's attention setting change ours, and ours change its.
            if isinstance(tower_config, PreTrainedConfig):
                tower_config = tower_config.to_dict()
            tower_config = {"model_type": model_type, **copy.deepcopy(tower_config or {})}
            setattr(self, name, AutoConfig.for_model(**tower_config))
        self._check_choice("contrastive_loss", CONTRASTIVE_LOSSES)
        if self.hopfield_scale == "auto":
            self.hopfield_scale = DEFAULT_HOPFIELD_SCALE if self.contrastive_loss == "infoloob" else None
        if self.logit_scale_init_value is None:
            self.logit_scale_init_value = DEFAULT_LOGIT_SCALES[self.contrastive_loss]
        if self.learn_logit_scale is None:
            self.learn_logit_scale = self.contrastive_loss != "infoloob"
        super().__post_init__(**kwargs)
        self.check_objective()

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs) -> tuple[dict, dict]:
        """As transformers', but another model's configuration is an error: it would give random weights."""
        config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        found = config_dict.get("model_type", cls.model_type)
        nested = (value.get("model_type") for value in config_dict.values() if isinstance(value, dict))
        if found != cls.model_type and cls.model_type not in nested:
            start = "from_clip" if found == "clip" else "from_vision_text_pretrained"
            raise ValueError(
                f"{str(pretrained_model_name_or_path)!r} holds a {found!r} model, not a {cls.model_type!r} one: "
                f"CloobModel.{start} starts from its weights."
            )
        return config_dict, kwargs

    def check_objective(self) -> None:
        """Raise ValueError for an illegal value or combination; also called when a model is built from the config."""
        self._check_choice("contrastive_loss", CONTRASTIVE_LOSSES)
        self._check_choice("projection_type", PROJECTION_TYPES)
        self._check_choice("text_pooling", POOLINGS)
        self._check_choice("vision_pooling", POOLINGS[:-1])
        self._check_choice("gap_closing", (None, *GAP_CLOSINGS))
        if self.projection_dim < 1:
            raise ValueError(f"projection_dim must be at least 1, got {self.projection_dim}.")
        if self.projection_hidden_dim is not None and self.projection_hidden_dim < 1:
            raise ValueError(f"projection_hidden_dim must be at least 1, got {self.projection_hidden_dim}.")
        # Comparisons with NaN are false. The bound catches t itself, such as 30, given in place of log t.
        if not abs(self.logit_scale_init_value) <= MAX_LOGIT_SCALE_INIT_VALUE:
            raise ValueError(
                f"logit_scale_init_value is log t and must be a number in [-{MAX_LOGIT_SCALE_INIT_VALUE:g}, "
                f"{MAX_LOGIT_SCALE_INIT_VALUE:g}], got {self.logit_scale_init_value} (t = 30 is log 30 = 3.4)."
            )
        if not math.isfinite(self.logit_bias_init_value):
            raise ValueError(f"logit_bias_init_value must be finite, got {self.logit_bias_init_value}.")
        for name in REGULARIZER_WEIGHTS:
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} must be a finite number of at least 0, got {getattr(self, name)}.")
        self._check_retrieval()
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), got {self.label_smoothing}.")
        if self.label_smoothing and self.contrastive_loss != "infonce":
            raise ValueError(
                f"label_smoothing={self.label_smoothing} works with contrastive_loss='infonce' only, "
                f"got contrastive_loss={self.contrastive_loss!r}."
            )

    def _check_retrieval(self) -> None:
        scale = self.hopfield_scale
        if scale is None:
            return
        if isinstance(scale, str) or not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"hopfield_scale must be 'auto', None or a finite number above 0, got {scale!r}.")
        if self.contrastive_loss == "sigmoid":
            raise ValueError(
                f"hopfield_scale={scale} does not go with contrastive_loss='sigmoid', which has no retrieval: "
                "use hopfield_scale=None or 'auto'."
            )

    def _check_choice(self, name: str, allowed: tuple[str | None, ...]) -> None:
        if getattr(self, name) not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}, got {getattr(self, name)!r}.")

    @classmethod
    def _reject_misspelt(cls, keywords: dict) -> None:
        """transformers keeps unknown keywords silently; one that nearly is a field of ours is a typing error."""
        own_fields = [name for name in cls.__annotations__ if not name.startswith("_")]
        for keyword in keywords:
            close = difflib.get_close_matches(keyword, own_fields, n=1, cutoff=0.85)
            if close and keyword not in ("text_config_dict", "vision_config_dict"):
                raise ValueError(f"CloobConfig has no field {keyword!r}: did you mean {close[0]!r}?")


__all__ = ["CloobConfig"]
