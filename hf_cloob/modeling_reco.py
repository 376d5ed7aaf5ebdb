# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""RecoForZeroShot: a frozen dual encoder that refines its embeddings with what it finds in a memory."""

from typing import Literal

import torch
from torch import nn
from transformers import AutoModel, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, can_return_tuple

from .blockwise import ALL_BLOCKS
from .configuration_reco import RecoConfig
from .distributed import all_gather_with_grad, shared_blocks
from .encoding import encode_images, encode_texts
from .losses_reco import reco_loss
from .modeling_cloob import CloobModel
from .outputs_reco import RecoOutput
from .reco_checkpoints import RecoCheckpointMixin
from .reco_fingerprint import encoder_fingerprint
from .reco_frozen_base import last_bits_of_unfrozen
from .reco_fusion import RecoFusion, ZeroInitLinear
from .reco_memory import RecoMemory, RecoNeighbors
from .reco_memory_checks import check_same_encoder
from .text_padding import pad_tokens_as_trained
from .validation import full_precision


class RecoForZeroShot(RecoCheckpointMixin, PreTrainedModel):
    """A frozen CLIP, SigLIP or CLOOB with a memory and two fusion layers.

        x' = phi_image(x, {y_m : m in topk <x, x_m>}),   y' = phi_text(y, {x_m : m in topk <y, y_m>})

    Every image is compared with the memory's images and refined with their texts' embeddings, every text with the
    memory's texts and refined with their images' embeddings. Only the two fusion layers are trained. Without a memory
    it is exactly the base; the memory may be exchanged or edited at any time, without training.

    The temperature, and SigLIP's bias, are the base's and frozen as all of the base, in the loss too: an untrained
    fusion layer changes nothing, so neither do the scores.

    Source: Iscen et al. 2024 (RECO, arXiv 2306.07196). Ours: see [`RecoFusion`]; the paper does not say whether it
    learns a temperature.
    """

    config_class = RecoConfig
    base_model_prefix = "reco"
    input_modalities = ("image", "text")
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _auto_class = "AutoModel"
    # The loss is a mean over the global batch: a Trainer must not rescale it by the number of items.
    accepts_loss_kwargs = False

    def __init__(self, config: RecoConfig, base: PreTrainedModel | None = None):
        super().__init__(config)
        config.check_fields()
        if base is None:
            is_cloob = config.base_config.model_type == "cloob"
            base = (CloobModel._from_config if is_cloob else AutoModel.from_config)(config.base_config)
        # One object: what is set on this model's configuration is set on its base's.
        config.base_config = base.config
        # The folder that a base was loaded from is nothing to publish.
        config.base_config._name_or_path = ""
        self.base = base
        sizes = config.projection_dim, config.fusion_num_heads, config.fusion_hidden_dim
        readout = (
            config.readout_weight_init_value,
            config.readout_scale_init_value,
            config.readout_null_score_init_value,
        )
        self.image_fusion = RecoFusion(*sizes, *readout)
        self.text_fusion = RecoFusion(*sizes, *readout)
        # A plain attribute: no part of the state_dict, of casts, of checkpoints or of what processes exchange.
        self.memory: RecoMemory | None = None
        self.post_init()
        self.freeze_base()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # Of the base nothing comes here.
        if isinstance(module, ZeroInitLinear):
            init.zeros_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            init.normal_(module.weight, std=module.in_features**-0.5)
            init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, RecoFusion):
            for parameter, value in zip(module.readout_parameters(), module.readout_init, strict=True):
                init.constant_(parameter, value)

    def freeze_base(self) -> None:
        """No gradients for the base, and evaluation mode."""
        self.base.requires_grad_(False)
        self.base.eval()

    def train(self, mode: bool = True) -> "RecoForZeroShot":
        """Training mode for the fusion layers; the base stays in evaluation mode, without dropout."""
        super().train(mode)
        self.base.eval()
        return self

    @property
    def logit_scale(self) -> torch.Tensor:
        """0-d log t of the base."""
        return self.base.logit_scale.reshape(())

    @property
    def logit_bias(self) -> torch.Tensor | None:
        """The base's bias of the sigmoid loss, (1,), or None."""
        return getattr(self.base, "logit_bias", getattr(self.base, "sigmoid_bias", None))

    def get_input_embeddings(self) -> nn.Module:
        return self.base.text_model.get_input_embeddings()

    def set_memory(self, memory: RecoMemory | None) -> None:
        """Set the memory to look things up in, instead of the one before; None makes the model its base again.

        Raises:
            ValueError: for a memory of another projection_dim or of another encoder.
        """
        if memory is not None:
            if not hasattr(memory, "retrieve_for_images"):
                raise ValueError(f"set_memory takes a RecoMemory or None, got a {type(memory).__name__}.")
            if memory.projection_dim != self.config.projection_dim:
                raise ValueError(
                    f"The memory's embeddings have {memory.projection_dim} dimensions, those of this model "
                    f"{self.config.projection_dim}: build it with this model's base."
                )
            if self.config.memory_fingerprint is None:
                self.config.memory_fingerprint = encoder_fingerprint(self.base)
            check_same_encoder(memory.fingerprint, self.config.memory_fingerprint, "this model's base")
        self.memory = memory

    @can_return_tuple
    def get_text_features(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPooling:
        """The base's text features; with a memory that refines texts, `pooler_output` is the refined embedding.

        Args:
            input_ids: (batch_size, num_tokens).
            attention_mask: (batch_size, num_tokens), 1 for tokens, 0 for padding.
            kwargs: what else the base takes.
        """
        outputs = self._base_text_features(input_ids, attention_mask, **kwargs)
        if self.memory is not None and self.config.refine_text:
            outputs.pooler_output, _ = self._refined("text", _l2_normalize(outputs.pooler_output))
        return outputs

    @can_return_tuple
    def get_image_features(
        self, pixel_values: torch.FloatTensor | None = None, **kwargs: Unpack[TransformersKwargs]
    ) -> BaseModelOutputWithPooling:
        """The base's image features; with a memory that refines images, `pooler_output` is the refined embedding.

        Args:
            pixel_values: (batch_size, num_channels, height, width).
            kwargs: what else the base takes.
        """
        outputs = self._base_image_features(pixel_values, **kwargs)
        if self.memory is not None and self.config.refine_image:
            outputs.pooler_output, _ = self._refined("image", _l2_normalize(outputs.pooler_output))
        return outputs

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        image_embeds: torch.FloatTensor | None = None,
        text_embeds: torch.FloatTensor | None = None,
        image_neighbor_embeds: torch.FloatTensor | None = None,
        text_neighbor_embeds: torch.FloatTensor | None = None,
        image_neighbor_scores: torch.FloatTensor | None = None,
        text_neighbor_scores: torch.FloatTensor | None = None,
        exclude_ids: torch.LongTensor | None = None,
        return_loss: bool | None = None,
        return_neighbors: bool | None = None,
        position_ids: torch.LongTensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        interpolate_pos_encoding: bool = False,
        **kwargs: Unpack[TransformersKwargs],
    ) -> RecoOutput:
        """Embed, look up, refine and score every combination of images and texts.

        Each side is given by its inputs or by embeddings of the base that were computed before, and its neighbors are
        looked up in the memory, or given too.

        Args:
            input_ids: (text_batch_size, num_tokens).
            pixel_values: (image_batch_size, num_channels, height, width).
            attention_mask: (text_batch_size, num_tokens).
            image_embeds: (image_batch_size, projection_dim) of the base, L2-normalized, instead of pixel_values.
            text_embeds: (text_batch_size, projection_dim) of the base, L2-normalized, instead of input_ids.
            image_neighbor_embeds: (image_batch_size, num_neighbors, projection_dim), TEXT embeddings of the entries
                that the images found, zeros for a missing one.
            text_neighbor_embeds: (text_batch_size, num_neighbors, projection_dim), IMAGE embeddings of the entries
                that the texts found.
            image_neighbor_scores: (image_batch_size, num_neighbors), the cosines by which image_neighbor_embeds were
                found; without them the readout weighs neighbors alike, without its null entry.
            text_neighbor_scores: (text_batch_size, num_neighbors), the same for text_neighbor_embeds.
            exclude_ids: (batch_size,) or (batch_size, e), entries that neither image i nor text i may find, -1 for
                none. A training pair's own entry, and near-duplicates of it, must be among them.
            return_loss: also compute the loss; image i and text i are a pair. While training, over the pairs of all
                processes, whose numbers may differ; otherwise over the local pairs, without communication.
            return_neighbors: also return what was found.
            position_ids: (text_batch_size, num_tokens), for towers that take them.
            token_type_ids: (text_batch_size, num_tokens), for towers that take them.
            interpolate_pos_encoding: let a ViT take images of another size than it was made for.

        Returns:
            [`RecoOutput`]

        Raises:
            ValueError: for missing inputs; a loss without neighbors, or with a memory and without exclude_ids (the
                answer would leak); a loss over fewer than two pairs.
        """
        text_inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": position_ids}
        text_inputs |= {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        image_inputs = {"pixel_values": pixel_values}
        image_inputs |= {"interpolate_pos_encoding": True} if interpolate_pos_encoding else {}
        embeds_given = image_embeds is not None or text_embeds is not None
        neighbors_given = [image_neighbor_embeds is not None, text_neighbor_embeds is not None]
        self._check_lookup(neighbors_given, exclude_ids, return_loss, return_neighbors)
        if self.memory is None and not embeds_given and not any(neighbors_given):
            with last_bits_of_unfrozen(self.base):
                outputs = self.base(**text_inputs, **image_inputs, return_dict=True, **kwargs)
            return RecoOutput(**{name: outputs.get(name) for name in RecoOutput.__dataclass_fields__})

        vision_outputs = text_outputs = None
        if image_embeds is None:
            vision_outputs = self._base_image_features(**image_inputs, **kwargs)
            image_embeds = _l2_normalize(vision_outputs.pooler_output)
        if text_embeds is None:
            text_outputs = self._base_text_features(**text_inputs, **kwargs)
            text_embeds = _l2_normalize(text_outputs.pooler_output)
        # Embeddings that were computed before may have been kept in half precision.
        image_embeds, text_embeds = full_precision(image_embeds, text_embeds)
        image_given = image_embeds, image_neighbor_embeds, image_neighbor_scores
        text_given = text_embeds, text_neighbor_embeds, text_neighbor_scores
        look_up_images, look_up_texts = (
            return_loss or refine for refine in (self.config.refine_image, self.config.refine_text)
        )
        refined_images, image_neighbors = self._refined("image", *image_given, exclude_ids, look_up_images)
        refined_texts, text_neighbors = self._refined("text", *text_given, exclude_ids, look_up_texts)
        losses = {}
        if return_loss:
            losses = self.compute_losses(image_embeds, text_embeds, refined_images, refined_texts)
        images = refined_images if self.config.refine_image else image_embeds
        texts = refined_texts if self.config.refine_text else text_embeds
        logits_per_text = self._logits_per_text(images, texts)
        return RecoOutput(
            logits_per_image=logits_per_text.T,
            logits_per_text=logits_per_text,
            text_embeds=texts,
            image_embeds=images,
            text_model_output=text_outputs,
            vision_model_output=vision_outputs,
            image_neighbors=image_neighbors if return_neighbors else None,
            text_neighbors=text_neighbors if return_neighbors else None,
            **losses,
        )

    def compute_losses(
        self,
        image_embeds: torch.Tensor,
        text_embeds: torch.Tensor,
        refined_images: torch.Tensor,
        refined_texts: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """`reco_loss` with the base's temperature, while training over the pairs of all processes.

        Args:
            image_embeds: (local_batch_size, projection_dim) of the base, L2-normalized.
            text_embeds: (local_batch_size, projection_dim) of the base, L2-normalized.
            refined_images: (local_batch_size, projection_dim), L2-normalized.
            refined_texts: (local_batch_size, projection_dim), L2-normalized.

        Returns:
            "loss" and its detached terms, as named in [`RecoOutput`].
        """
        embeds, blocks = (image_embeds, text_embeds, refined_images, refined_texts), ALL_BLOCKS
        if self.training and torch.is_grad_enabled():
            embeds, blocks = all_gather_with_grad(*embeds), shared_blocks()
        return reco_loss(*embeds, self.logit_scale.exp(), blocks=blocks)

    def encode_images(self, images, processor, batch_size: int = 64, **kwargs):
        """Normalized embeddings (num_images, projection_dim), refined with a memory; see `encoding.encode_images`."""
        return encode_images(self, images, processor, batch_size, **kwargs)

    def encode_texts(self, texts, processor, batch_size: int = 64, **kwargs):
        """Normalized embeddings (num_texts, projection_dim), refined with a memory; see `encoding.encode_texts`."""
        return encode_texts(self, texts, processor, batch_size, **kwargs)

    def _base_image_features(self, pixel_values=None, **kwargs) -> BaseModelOutputWithPooling:
        if pixel_values is None:
            raise ValueError("pixel_values is missing: pass the images, (batch_size, num_channels, height, width).")
        return self.base.get_image_features(pixel_values=pixel_values, return_dict=True, **kwargs)

    def _base_text_features(self, input_ids=None, attention_mask=None, **kwargs) -> BaseModelOutputWithPooling:
        if input_ids is None:
            raise ValueError("input_ids is missing: pass the tokens of the texts, (batch_size, num_tokens).")
        # Without a memory the base gets what it would get without this model.
        if self.memory is not None:
            input_ids, attention_mask = pad_tokens_as_trained(self.config.base_config, input_ids, attention_mask)
        text_inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        return self.base.get_text_features(**text_inputs, return_dict=True, **kwargs)

    def _refined(
        self,
        side: Literal["image", "text"],
        embeds: torch.Tensor,
        neighbor_embeds: torch.Tensor | None = None,
        neighbor_scores: torch.Tensor | None = None,
        exclude_ids: torch.Tensor | None = None,
        look_up: bool = True,
    ) -> tuple[torch.Tensor, RecoNeighbors | None]:
        """Embeddings refined with given neighbors or those that are looked up, and these; without any, as they are."""
        fusion = self.image_fusion if side == "image" else self.text_fusion
        if neighbor_embeds is not None:
            return fusion(embeds, neighbor_embeds, neighbor_scores), None
        if self.memory is None or not look_up:
            return embeds, None
        retrieve = self.memory.retrieve_for_images if side == "image" else self.memory.retrieve_for_texts
        neighbors = retrieve(embeds, self.config.num_neighbors, exclude_ids)
        return fusion(embeds, neighbors.embeds, neighbors.scores), neighbors

    def _check_lookup(self, neighbors_given: list[bool], exclude_ids, return_loss, return_neighbors) -> None:
        """Raise ValueError for calls whose answer would be missing or wrong."""
        looked_up = self.memory is not None and not all(neighbors_given)
        if return_loss and self.memory is None and not all(neighbors_given):
            raise ValueError(
                "The loss needs neighbors: set_memory first and pass exclude_ids, or pass image_neighbor_embeds and "
                "text_neighbor_embeds that were looked up before."
            )
        if return_loss and looked_up and exclude_ids is None:
            raise ValueError(
                "return_loss=True with a memory needs exclude_ids, the entries of each pair itself and of its "
                "near-duplicates: a pair that finds itself would find the answer. Pass -1 for pairs that are not in "
                "the memory."
            )
        if (exclude_ids is not None or return_neighbors) and not looked_up:
            name = "return_neighbors" if exclude_ids is None else "exclude_ids"
            raise ValueError(f"{name} needs a memory to look things up in: set_memory first.")

    def _logits_per_text(self, image_embeds: torch.Tensor, text_embeds: torch.Tensor) -> torch.Tensor:
        logits = self.logit_scale.exp() * (text_embeds @ image_embeds.T)
        return logits if self.logit_bias is None else logits + self.logit_bias


def _l2_normalize(embeds: torch.Tensor) -> torch.Tensor:
    """Unit rows in at least float32, as the memory's scores."""
    return nn.functional.normalize(embeds.to(torch.promote_types(embeds.dtype, torch.float32)), dim=-1)


__all__ = ["RecoForZeroShot", "RecoFusion", "RecoOutput"]
