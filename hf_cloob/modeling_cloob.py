# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""CloobModel: two towers, Hopfield retrieval and a contrastive loss over the global batch."""

import math
import os

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, CLIPModel, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs, can_return_tuple, logging

from .blockwise import ALL_BLOCKS
from .configuration_cloob import CloobConfig
from .distributed import all_gather_with_grad, shared_blocks
from .encoding import context_length, encode_images, encode_texts
from .gap_closing import subtract_offset
from .losses_contrastive import clip_loss, cloob_loss, sigmoid_loss
from .losses_regularization import alignment_loss, cross_modal_uniformity_loss, uniformity_loss
from .outputs_cloob import CloobOutput, CloobTextModelOutput, CloobVisionModelOutput
from .pooling import pool_image, pool_text
from .projection import build_projection
from .towers import build_tower, freeze_unused, pad_to_context, pooled_width

logger = logging.get_logger(__name__)

HUB_KEYWORDS = (
    "cache_dir",
    "force_download",
    "local_files_only",
    "token",
    "revision",
    "subfolder",
    "trust_remote_code",
)
MODEL_KEYWORDS = ("attn_implementation", "dtype")
MAX_LOGIT_SCALE = math.log(100.0)
# Of a saved model, what a single tower has no use for.
OBJECTIVE_KEYS = ("log_inverse_temp", "sigmoid_b")


class CloobPreTrainedModel(PreTrainedModel):
    """What the three CLOOB models share: configuration, initialization and their towers."""

    config_class = CloobConfig
    base_model_prefix = "cloob"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _auto_class = "AutoModel"

    def _add_text_tower(self, config: CloobConfig) -> None:
        self.text_model = build_tower(config.text_config, "text", config.text_pooling)
        self.text_projection = build_projection(
            config.projection_type,
            pooled_width(self.text_model, config.text_pooling),
            config.projection_dim,
            config.projection_hidden_dim,
        )
        self.register_buffer("text_offset", torch.zeros(config.projection_dim) if config.gap_closing else None)

    def _add_vision_tower(self, config: CloobConfig) -> None:
        self.vision_model = build_tower(config.vision_config, "vision", config.vision_pooling)
        self.visual_projection = build_projection(
            config.projection_type,
            pooled_width(self.vision_model, config.vision_pooling),
            config.projection_dim,
            config.projection_hidden_dim,
        )
        self.register_buffer("image_offset", torch.zeros(config.projection_dim) if config.gap_closing else None)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # Only modules outside the towers come here; a module without own parameters never does in remote code.
        if isinstance(module, nn.Linear):
            init.normal_(module.weight, std=module.in_features**-0.5)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, CloobPreTrainedModel):
            if isinstance(module, CloobModel):
                init.constant_(module.log_inverse_temperature, self.config.logit_scale_init_value)
                if module.sigmoid_bias is not None:
                    init.constant_(module.sigmoid_bias, self.config.logit_bias_init_value)
            for offset in (getattr(module, f"{side}_offset", None) for side in ("text", "image")):
                if offset is not None:
                    init.zeros_(offset)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *model_args, **kwargs):
        """As transformers', which forgets what is frozen: the towers' parts that the pooling does not use."""
        loaded = super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        for side in ("text", "vision"):
            if hasattr(model, f"{side}_model"):
                freeze_unused(getattr(model, f"{side}_model"), getattr(model.config, f"{side}_pooling"))
        return loaded

    def pooled_text_states(self, input_ids, attention_mask=None, **kwargs) -> BaseModelOutputWithPooling:
        """Run the text tower alone; `pooler_output` (batch_size, width) is pooled and not projected."""
        if input_ids is None:
            raise ValueError("input_ids is missing: pass the tokens of the texts, (batch_size, num_tokens).")
        text_config, pooling = self.config.text_config, self.config.text_pooling
        limit = context_length(text_config)
        if input_ids.shape[-1] > limit:
            raise ValueError(
                f"input_ids has {input_ids.shape[-1]} tokens a text, the text tower takes at most {limit}: "
                "tokenize with truncation=True or shorten the longest text (a label or its template, in a pipeline)."
            )
        kwargs = {name: value for name, value in kwargs.items() if value is not None}
        if text_config.model_type == "siglip_text_model" and pooling in ("auto", "pooler"):
            input_ids, attention_mask = pad_to_context(input_ids, attention_mask, text_config)
        outputs = self.text_model(input_ids=input_ids, attention_mask=attention_mask, return_dict=True, **kwargs)
        return _with_pooled(outputs, pool_text(outputs, attention_mask, pooling))

    def _text_features(self, input_ids, attention_mask, **kwargs) -> BaseModelOutputWithPooling:
        outputs = self.pooled_text_states(input_ids, attention_mask, **kwargs)
        embeds = _project(outputs.pooler_output, self.text_projection, self.config.text_config)
        return _with_pooled(outputs, subtract_offset(embeds, self.text_offset))

    def pooled_image_states(self, pixel_values, **kwargs) -> BaseModelOutputWithPooling:
        """Run the vision tower alone; `pooler_output` (batch_size, width) is pooled and not projected."""
        if pixel_values is None:
            raise ValueError("pixel_values is missing: pass the images, (batch_size, num_channels, height, width).")
        outputs = self.vision_model(pixel_values=pixel_values, return_dict=True, **kwargs)
        return _with_pooled(outputs, pool_image(outputs, self.config.vision_pooling))

    def _image_features(self, pixel_values, **kwargs) -> BaseModelOutputWithPooling:
        outputs = self.pooled_image_states(pixel_values, **kwargs)
        embeds = _project(outputs.pooler_output, self.visual_projection, self.config.vision_config)
        return _with_pooled(outputs, subtract_offset(embeds, self.image_offset))


class CloobModel(CloobPreTrainedModel):
    """A dual encoder trained with CLOOB's, CLIP's or SigLIP's objective.

    The two towers may be any models of transformers. `return_loss=True` gives the loss over the global batch of all
    processes while training; evaluation and inference are local, without retrieval: normalized embeddings and cosine.

    Source: Fürst et al. 2022 (CLOOB, arXiv 2110.11316).
    """

    # The loss is a mean over the global batch: a Trainer must not rescale it by the number of items.
    accepts_loss_kwargs = False
    # What `compute_losses` takes of the output, in its order.
    row_names = ("image_embeds", "text_embeds")

    def __init__(self, config: CloobConfig):
        super().__init__(config)
        config.check_objective()
        self._add_text_tower(config)
        self._add_vision_tower(config)
        # Not CLIP's name `logit_scale`: loading a CLIP checkpoint would silently adopt its scale. One element instead
        # of none: FSDP cannot shard 0-d parameters.
        scale = torch.full((1,), float(config.logit_scale_init_value))
        if config.learn_logit_scale:
            self.log_inverse_temperature = nn.Parameter(scale)
        else:
            self.register_buffer("log_inverse_temperature", scale)
        bias = torch.full((1,), float(config.logit_bias_init_value))
        self.sigmoid_bias = nn.Parameter(bias) if config.contrastive_loss == "sigmoid" else None
        if config.learn_logit_scale and config.contrastive_loss == "infoloob":
            logger.warning_once(
                "learn_logit_scale=True with contrastive_loss='infoloob': the loss falls with every increase of the "
                "scale, which runs to its limit of 100. The paper keeps it fixed at 30."
            )
        self.post_init()

    @property
    def logit_scale(self) -> torch.Tensor:
        """0-d log t, as it enters the loss; a learned scale of "infonce" and "infoloob" is kept in [0, log 100]."""
        scale = self.log_inverse_temperature.reshape(())
        if self.config.learn_logit_scale and self.config.contrastive_loss != "sigmoid":
            return ClampLogitScale.apply(scale)
        return scale

    @can_return_tuple
    def get_text_features(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPooling:
        """Run the text tower; `pooler_output` (batch_size, projection_dim) is projected and not normalized.

        Args:
            input_ids: (batch_size, num_tokens).
            attention_mask: (batch_size, num_tokens), 1 for tokens, 0 for padding.
            position_ids: (batch_size, num_tokens), for towers that take them.
            token_type_ids: (batch_size, num_tokens), for towers that take them.

        Raises:
            ValueError: if texts are missing or longer than the tower's context.
        """
        return self._text_features(
            input_ids, attention_mask, position_ids=position_ids, token_type_ids=token_type_ids, **kwargs
        )

    @can_return_tuple
    def get_image_features(
        self, pixel_values: torch.FloatTensor | None = None, **kwargs: Unpack[TransformersKwargs]
    ) -> BaseModelOutputWithPooling:
        """Run the vision tower; `pooler_output` (batch_size, projection_dim) is projected and not normalized.

        Args:
            pixel_values: (batch_size, num_channels, height, width).

        Raises:
            ValueError: if images are missing.
        """
        return self._image_features(pixel_values, **kwargs)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        return_loss: bool | None = None,
        token_type_ids: torch.LongTensor | None = None,
        interpolate_pos_encoding: bool = False,
        text_pooler_output: torch.FloatTensor | None = None,
        retrieval_weight: float = 1.0,
        **kwargs: Unpack[TransformersKwargs],
    ) -> CloobOutput:
        """Embed images and texts and score every combination.

        Args:
            input_ids: (text_batch_size, num_tokens).
            pixel_values: (image_batch_size, num_channels, height, width).
            attention_mask: (text_batch_size, num_tokens).
            position_ids: (text_batch_size, num_tokens), for towers that take them.
            return_loss: also compute the loss; image i and text i are a pair. While training, over the pairs of all
                processes, whose numbers may differ; every process must then take part. In evaluation mode or without
                gradients over the local pairs, without communication.
            token_type_ids: (text_batch_size, num_tokens), for towers that take them.
            interpolate_pos_encoding: let a ViT take images of another size than it was made for.
            text_pooler_output: (text_batch_size, width of the text tower), pooled states of a frozen text tower that
                were computed before (see `pooled_text_states`), instead of input_ids.
            retrieval_weight: share in [0, 1] of the loss with retrieval; the rest is the same loss without. A warm-up
                from 0 to 1 spares InfoLOOB the collapse that retrieval rewards at the start of training.

        Returns:
            [`CloobOutput`]

        Raises:
            ValueError: for missing inputs, texts longer than the context, or a loss over fewer than two pairs.
        """
        image_kwargs = {"interpolate_pos_encoding": True} if interpolate_pos_encoding else {}
        num_pairs = None
        if return_loss and self.training and pixel_values is not None and not len(pixel_values):
            # A process none of whose pairs could be read must stay in step with the others, and towers fail on no
            # rows: they get some (two, for batch statistics), whose embeddings are dropped.
            num_pairs = 0
            pixel_values, input_ids, attention_mask, text_pooler_output = (
                None if rows is None else rows.new_ones(2, *rows.shape[1:])
                for rows in (pixel_values, input_ids, attention_mask, text_pooler_output)
            )
        vision_outputs = self._image_features(pixel_values, **image_kwargs, **kwargs)
        if text_pooler_output is None:
            text_outputs = self._text_features(
                input_ids, attention_mask, position_ids=position_ids, token_type_ids=token_type_ids, **kwargs
            )
        else:
            embeds = subtract_offset(self.text_projection(text_pooler_output), self.text_offset)
            text_outputs = BaseModelOutputWithPooling(pooler_output=embeds)
        image_embeds = _l2_normalize(vision_outputs.pooler_output)[:num_pairs]
        text_embeds = _l2_normalize(text_outputs.pooler_output)[:num_pairs]

        logits_per_text = self.logit_scale.exp() * (text_embeds @ image_embeds.T)
        if self.sigmoid_bias is not None:
            logits_per_text = logits_per_text + self.sigmoid_bias
        losses = self.compute_losses(image_embeds, text_embeds, retrieval_weight) if return_loss else {}
        return CloobOutput(
            logits_per_image=logits_per_text.T,
            logits_per_text=logits_per_text,
            text_embeds=text_embeds,
            image_embeds=image_embeds,
            text_model_output=text_outputs,
            vision_model_output=vision_outputs,
            **losses,
        )

    def compute_losses(
        self, image_embeds: torch.Tensor, text_embeds: torch.Tensor, retrieval_weight: float = 1.0
    ) -> dict[str, torch.Tensor]:
        """The configured objective and its unweighted, detached parts.

        Args:
            image_embeds: (local_batch_size, projection_dim), L2-normalized.
            text_embeds: (local_batch_size, projection_dim), L2-normalized.
            retrieval_weight: share in [0, 1] of the contrastive loss with retrieval, see `forward`.

        Returns:
            "loss" and the parts that the configuration asks for, as named in [`CloobOutput`].
        """
        config, blocks = self.config, ALL_BLOCKS
        if self.training and torch.is_grad_enabled():
            image_embeds, text_embeds = all_gather_with_grad(image_embeds, text_embeds)
            blocks = shared_blocks()
        scale = self.logit_scale.exp()
        contrastive = self._contrastive_loss(image_embeds, text_embeds, scale, retrieval_weight, blocks)
        parts = {"contrastive_loss": contrastive}
        weights = {"contrastive_loss": 1.0}
        # InfoLOOB carries a leading tau and is a sum over directions: the same factor keeps the weights comparable.
        regularizer_scale = 2 / scale if config.contrastive_loss == "infoloob" else 1.0
        if config.alignment_weight:
            parts["alignment_loss"] = alignment_loss(image_embeds, text_embeds)
            weights["alignment_loss"] = config.alignment_weight * regularizer_scale
        if config.uniformity_weight:
            of_images, of_texts = (uniformity_loss(embeds, blocks=blocks) for embeds in (image_embeds, text_embeds))
            parts["uniformity_loss"] = (of_images + of_texts) / 2
            weights["uniformity_loss"] = config.uniformity_weight * regularizer_scale
        if config.cross_modal_uniformity_weight:
            parts["cross_modal_uniformity_loss"] = cross_modal_uniformity_loss(
                image_embeds, text_embeds, blocks=blocks
            )
            weights["cross_modal_uniformity_loss"] = config.cross_modal_uniformity_weight * regularizer_scale
        total = sum(weights[name] * part for name, part in parts.items())
        return {"loss": total, **{name: part.detach() for name, part in parts.items()}}

    def _contrastive_loss(self, image_embeds, text_embeds, scale: torch.Tensor, retrieval_weight: float, blocks):
        config = self.config
        if config.contrastive_loss == "sigmoid":
            return sigmoid_loss(image_embeds, text_embeds, scale, self.sigmoid_bias, blocks=blocks)
        if not 0.0 <= retrieval_weight <= 1.0:
            raise ValueError(f"retrieval_weight must be in [0, 1], got {retrieval_weight}.")

        def loss(hopfield_scale: float | None) -> torch.Tensor:
            if config.contrastive_loss == "infoloob":
                return cloob_loss(image_embeds, text_embeds, scale, hopfield_scale, blocks=blocks)
            return clip_loss(image_embeds, text_embeds, scale, config.label_smoothing, hopfield_scale, blocks=blocks)

        if config.hopfield_scale is None or retrieval_weight == 1.0:
            return loss(config.hopfield_scale)
        if retrieval_weight == 0.0:
            return loss(None)
        return torch.lerp(loss(None), loss(config.hopfield_scale), retrieval_weight)

    def encode_images(self, images, processor, batch_size: int = 64, **kwargs):
        """Normalized image embeddings (num_images, projection_dim); see `encoding.encode_images`."""
        return encode_images(self, images, processor, batch_size, **kwargs)

    def encode_texts(self, texts, processor, batch_size: int = 64, **kwargs):
        """Normalized text embeddings (num_texts, projection_dim); see `encoding.encode_texts`."""
        return encode_texts(self, texts, processor, batch_size, **kwargs)

    def save_pretrained(self, save_directory, **kwargs):
        """Save weights, configuration and the code, so that `trust_remote_code=True` works without this package."""
        # One class serves two auto classes; transformers itself records only one.
        auto_map = dict(getattr(self.config, "auto_map", None) or {})
        auto_map["AutoModelForZeroShotImageClassification"] = "modeling_cloob.CloobModel"
        self.config.auto_map = auto_map
        return super().save_pretrained(save_directory, **kwargs)

    @classmethod
    def from_vision_text_pretrained(
        cls,
        vision_model_name_or_path: str | os.PathLike | dict | PreTrainedConfig,
        text_model_name_or_path: str | os.PathLike | dict | PreTrainedConfig,
        **kwargs,
    ) -> "CloobModel":
        """Join a pretrained vision tower and a pretrained text tower; the projections start at random.

        Args:
            vision_model_name_or_path: folder or Hub id of a vision model, or of a dual encoder whose vision tower
                is taken. A configuration, or a dict with `model_type`, instead of a name starts the tower at random.
            text_model_name_or_path: the same for the text tower.
            kwargs: fields of [`CloobConfig`], `attn_implementation`, `dtype`, and `from_pretrained`'s Hub arguments
                (revision, token, ...).

        Raises:
            ValueError: for fields that contradict each other.
        """
        hub = {name: kwargs.pop(name) for name in HUB_KEYWORDS if name in kwargs}
        options = {name: kwargs.pop(name) for name in MODEL_KEYWORDS if name in kwargs}
        towers = {"vision": vision_model_name_or_path, "text": text_model_name_or_path}
        pretrained = {
            side: _pretrained_tower(name, side, hub)
            for side, name in towers.items()
            if isinstance(name, (str, os.PathLike))
        }
        configs = {f"{side}_config": tower.config for side, tower in pretrained.items()}
        configs |= {f"{side}_config": tower for side, tower in towers.items() if side not in pretrained}
        model = cls._from_config(CloobConfig(**configs, **kwargs), **options)
        for side, tower in pretrained.items():
            _copy_weights(tower, getattr(model, f"{side}_model"))
        return model

    @classmethod
    def from_clip(cls, pretrained_model_name_or_path: str, **kwargs) -> "CloobModel":
        """Start from a CLIP checkpoint: towers, projections and, unless another is given, its scale.

        Args:
            pretrained_model_name_or_path: folder or Hub id of a CLIP checkpoint.
            kwargs: fields of [`CloobConfig`], e.g. `logit_scale_init_value=math.log(30)` for CLOOB training,
                `attn_implementation`, `dtype`, and `from_pretrained`'s Hub arguments (revision, token, ...).

        Raises:
            ValueError: if the checkpoint is not a CLIP, or fields contradict each other.
        """
        hub = {name: kwargs.pop(name) for name in HUB_KEYWORDS if name in kwargs}
        options = {name: kwargs.pop(name) for name in MODEL_KEYWORDS if name in kwargs}
        source = AutoConfig.from_pretrained(pretrained_model_name_or_path, **hub)
        if source.model_type != "clip":
            raise ValueError(
                f"{pretrained_model_name_or_path!r} is a {source.model_type!r} checkpoint: from_clip takes 'clip' "
                "checkpoints; use from_vision_text_pretrained for towers of other models."
            )
        for name, own in (("projection_dim", source.projection_dim), ("projection_type", "linear")):
            if kwargs.setdefault(name, own) != own:
                raise ValueError(f"{name}={kwargs[name]!r} contradicts the checkpoint, whose {name} is {own!r}.")
        clip = CLIPModel.from_pretrained(pretrained_model_name_or_path, **hub)
        kwargs.setdefault("logit_scale_init_value", clip.logit_scale.item())
        config = CloobConfig(text_config=source.text_config, vision_config=source.vision_config, **kwargs)
        model = cls._from_config(config, **options)
        for name in ("text_model", "vision_model", "text_projection", "visual_projection"):
            _copy_weights(getattr(clip, name), getattr(model, name))
        return model


class CloobTextModelWithProjection(CloobPreTrainedModel):
    """The text tower of a saved [`CloobModel`] with its projection."""

    input_modalities = ("text",)
    _keys_to_ignore_on_load_unexpected = [r"^(vision_model|visual_projection)\.", "image_offset", *OBJECTIVE_KEYS]

    def __init__(self, config: CloobConfig):
        super().__init__(config)
        self._add_text_tower(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.text_model.set_input_embeddings(value)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> CloobTextModelOutput:
        """Embed texts; arguments as `CloobModel.get_text_features`."""
        outputs = self._text_features(
            input_ids, attention_mask, position_ids=position_ids, token_type_ids=token_type_ids, **kwargs
        )
        return CloobTextModelOutput(text_embeds=outputs.pooler_output, **_states(outputs))


class CloobVisionModelWithProjection(CloobPreTrainedModel):
    """The vision tower of a saved [`CloobModel`] with its projection."""

    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _keys_to_ignore_on_load_unexpected = [r"^(text_model|text_projection)\.", "text_offset", *OBJECTIVE_KEYS]

    def __init__(self, config: CloobConfig):
        super().__init__(config)
        self._add_vision_tower(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.vision_model.get_input_embeddings()

    @can_return_tuple
    def forward(
        self, pixel_values: torch.FloatTensor | None = None, **kwargs: Unpack[TransformersKwargs]
    ) -> CloobVisionModelOutput:
        """Embed images; arguments as `CloobModel.get_image_features`."""
        outputs = self._image_features(pixel_values, **kwargs)
        return CloobVisionModelOutput(image_embeds=outputs.pooler_output, **_states(outputs))


class ClampLogitScale(torch.autograd.Function):
    """Clamp log t to [0, log 100], without a dead end.

    A plain clamp has no gradient beyond its limits, so a scale that once stepped over would stay there. Here the
    gradient passes whenever a descent step leads back inside.
    """

    @staticmethod
    def forward(ctx, scale: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(scale)
        return scale.clamp(0.0, MAX_LOGIT_SCALE)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        (scale,) = ctx.saved_tensors
        outward = ((scale > MAX_LOGIT_SCALE) & (gradient < 0)) | ((scale < 0) & (gradient > 0))
        return gradient.masked_fill(outward, 0.0)


def _l2_normalize(embeds: torch.Tensor) -> torch.Tensor:
    """Unit rows in at least float32: cosines in half precision are too coarse for an inverse temperature of 30."""
    return nn.functional.normalize(embeds.to(torch.promote_types(embeds.dtype, torch.float32)), dim=-1)


def _project(pooled: torch.Tensor, projection: nn.Module, tower_config: PreTrainedConfig) -> torch.Tensor:
    if pooled.shape[-1] != projection.in_features:
        raise ValueError(
            f"The {tower_config.model_type!r} tower gives vectors of width {pooled.shape[-1]} where its configuration "
            f"promises {projection.in_features}: choose another tower or another pooling."
        )
    return projection(pooled)


def _states(outputs: ModelOutput) -> dict:
    return {name: outputs.get(name) for name in ("last_hidden_state", "hidden_states", "attentions")}


def _with_pooled(outputs: ModelOutput, embeds: torch.Tensor) -> BaseModelOutputWithPooling:
    return BaseModelOutputWithPooling(pooler_output=embeds, **_states(outputs))


def _pretrained_tower(name_or_path: str, side: str, hub: dict) -> PreTrainedModel:
    model = AutoModel.from_pretrained(name_or_path, **hub)
    return getattr(model, f"{side}_model", model)


def _copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy all weights that the target has; it may lack those of a pooled output that its pooling leaves unused."""
    missing, _ = target.load_state_dict(source.state_dict(), strict=False)
    if missing:
        raise ValueError(f"The pretrained tower lacks the weights {missing[:5]}.")


__all__ = [
    "CloobModel",
    "CloobPreTrainedModel",
    "CloobTextModelWithProjection",
    "CloobVisionModelWithProjection",
]
