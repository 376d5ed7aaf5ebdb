# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What is trained with strong views: a CloobModel, the heads of its auxiliary losses, and the sum of all losses."""

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F

from ..blockwise import ALL_BLOCKS
from ..distributed import all_gather_with_grad, all_reduce_with_grad, shared_blocks
from ..gap_closing import subtract_offset
from ..losses_noncontrastive import (
    cross_correlation,
    negative_cosine_loss,
    redundancy_loss,
    rocket_loss,
    simclr_loss,
    strong_pairs_loss,
    swalip_loss,
)
from ..modeling_cloob import ClampLogitScale, CloobModel
from ..towers import pooled_width
from .auxiliary_heads import PAPER_SIZES, barlip_head, contrastive_head, siamese_predictor, siamese_projector
from .auxiliary_settings import AUXILIARY_WEIGHTS, SIAMESE, AuxiliarySettings
from .momentum import MomentumCopy
from .text_dropout import dropped_layer_inputs, transformer_layers

Rows = dict[str, torch.Tensor]


class TrainingObjective(nn.Module):
    """A [`CloobModel`] with the heads of its auxiliary losses, to be trained in the place of the model.

        L = L_g, or with strong pairs (L_g + A c L_strong) / (1 + A);   plus c * weight * L_auxiliary
        L_g: the model's own loss of the weak pairs;   c = 2/t if that is InfoLOOB, otherwise 1

    The towers run once for each view. Heads, scales and an EMA copy are parts of this module, so a resume checkpoint
    holds them; what is published is `model`, whose embeddings are z. Losses and batch statistics are those of the
    joined batch of all processes, with gradient (the released code's are not).

    Args:
        model: the dual encoder.
        settings: which losses.

    Raises:
        ValueError: for text dropout with a tower whose layers are not known, or that does not train.

    Source: Fini et al. 2023 (arXiv 2305.08675); Mu et al. 2021 (SLIP, arXiv 2112.12750).
    """

    def __init__(self, model: CloobModel, settings: AuxiliarySettings):
        super().__init__()
        self.model, self.settings = model, settings
        config, name = model.config, settings.auxiliary_loss
        image_width = pooled_width(model.vision_model, config.vision_pooling)
        text_width = pooled_width(model.text_model, config.text_pooling)
        if settings.strong_text_dropout:
            transformer_layers(model.text_model)
            if not any(parameter.requires_grad for parameter in model.text_model.parameters()):
                raise ValueError(
                    f"strong_text_dropout={settings.strong_text_dropout} needs a text tower that trains: it is frozen."
                )
        if settings.uses_strong_head:
            self.strong_image_head = contrastive_head(image_width, settings.strong_head_sizes)
            self.strong_text_head = contrastive_head(text_width, settings.strong_head_sizes)
            start = torch.full((1,), settings.strong_inverse_temperature).log()
            self.log_strong_inverse_temperature = nn.Parameter(start)
        sizes = settings.auxiliary_head_sizes or PAPER_SIZES.get(name)
        if name == "slip":
            self.image_projector = contrastive_head(image_width, sizes)
        elif name == "barlip":
            self.image_projector, self.text_projector = (barlip_head(n, sizes) for n in (image_width, text_width))
        elif name in SIAMESE:
            projectors = [siamese_projector(width, sizes) for width in (image_width, text_width)]
            self.image_projector, self.text_projector = projectors
            self.image_predictor, self.text_predictor = siamese_predictor(sizes), siamese_predictor(sizes)
        self.momentum_copy = MomentumCopy(self._averaged(), settings.ema_momentum) if name == "byolip" else None

    @property
    def row_names(self) -> tuple[str, ...]:
        """What `compute_losses` takes of the output, in its order."""
        settings = self.settings
        states = ["strong_image_states"]
        states += ["strong_text_states"] if settings.uses_strong_texts else []
        states += ["image_states", "text_states"] if settings.aligns_weak_states else []
        targets = [f"target_{name}" for name in states] if self.momentum_copy is not None else []
        return (*self.model.row_names, *states, *targets)

    @property
    def strong_logit_scale(self) -> torch.Tensor:
        """0-d log t of the strong pairs, kept in [0, log 100]."""
        return ClampLogitScale.apply(self.log_strong_inverse_temperature.reshape(()))

    def train(self, mode: bool = True) -> "TrainingObjective":
        """Training mode, but not for a frozen tower nor for its copy."""
        super().train(mode)
        copies = [] if self.momentum_copy is None else [self.momentum_copy.module["model"]]
        for name in ("text_model", "vision_model"):
            if not any(parameter.requires_grad for parameter in getattr(self.model, name).parameters()):
                for model in (self.model, *copies):
                    getattr(model, name).eval()
        return self

    @torch.no_grad()
    def update_momentum(self) -> None:
        """Let the EMA copy, if there is one, follow the model; to be called after each optimizer step."""
        if self.momentum_copy is not None:
            self.momentum_copy.update(self._averaged())

    def forward(self, retrieval_weight: float = 1.0, return_loss: bool = False, **inputs: torch.Tensor) -> Rows:
        """The rows of `embed`, and with `return_loss` the losses of `compute_losses`."""
        rows = self.embed(**inputs)
        if not return_loss:
            return rows
        return rows | self.compute_losses(*rows.values(), retrieval_weight=retrieval_weight)

    def embed(self, **inputs: torch.Tensor) -> Rows:
        """Run the towers on some pairs.

        Args:
            inputs: pixel_values, input_ids and attention_mask, or text_pooler_output, of the weak pairs, as
                [`CloobModel`]'s; strong_pixel_values (batch_size, A, num_channels, height, width); strong_input_ids
                and strong_attention_mask (batch_size, A, num_tokens).

        Returns:
            `row_names`: image_embeds and text_embeds (batch_size, projection_dim), L2-normalized; pooled states
            (batch_size, width), of strong views (batch_size, A, width).
        """
        if not len(inputs["pixel_values"]):
            # As in [`CloobModel`]'s forward: a process without a readable pair stays in step with the others.
            inputs = {name: value.new_ones(2, *value.shape[1:]) for name, value in inputs.items()}
            return {name: value[:0] for name, value in self.embed(**inputs).items()}
        states = self._states(self.model, inputs)
        rows = {
            f"{side}_embeds": _projected(states[f"{side}_states"], projection, offset)
            for side, projection, offset in (
                ("image", self.model.visual_projection, self.model.image_offset),
                ("text", self.model.text_projection, self.model.text_offset),
            )
        }
        if self.momentum_copy is not None:
            with torch.no_grad():
                targets = self._states(self.momentum_copy.module["model"], inputs)
            states |= {f"target_{name}": value for name, value in targets.items()}
        return {name: (rows | states)[name] for name in self.row_names}

    def compute_losses(self, *rows: torch.Tensor, retrieval_weight: float = 1.0) -> Rows:
        """The objective and its unweighted, detached parts over the pairs of all processes.

        Args:
            rows: `row_names` of this process's pairs, as `embed` returns them.
            retrieval_weight: see [`CloobModel`]'s forward.

        Returns:
            "loss", the parts of the model's own loss, "strong_loss", and the auxiliary one as "slip_loss" and so on.
        """
        named = dict(zip(self.row_names, rows, strict=True))
        settings, config = self.settings, self.model.config
        parts = self.model.compute_losses(named["image_embeds"], named["text_embeds"], retrieval_weight)
        total = parts.pop("loss")
        # InfoLOOB carries a leading tau and is a sum over directions: the same factor keeps the weights comparable.
        scale = 2 / self.model.logit_scale.exp() if config.contrastive_loss == "infoloob" else 1.0
        views = self._strong_embeds(named) if settings.uses_strong_head else None
        if settings.strong_pairs:
            blocks = shared_blocks() if self._joins_processes() else ALL_BLOCKS
            smoothing = settings.strong_label_smoothing
            strong = strong_pairs_loss(*views, self.strong_logit_scale.exp(), smoothing, blocks=blocks)
            total = rocket_loss(total, scale * strong, settings.num_strong_views)
            parts["strong_loss"] = strong.detach()
        name = settings.auxiliary_loss
        if name != "none":
            auxiliary = self._auxiliary_loss(named, views)
            weight = AUXILIARY_WEIGHTS[name] if settings.auxiliary_weight is None else settings.auxiliary_weight
            total = total + weight * scale * auxiliary
            parts[f"{name}_loss"] = auxiliary.detach()
        return {"loss": total, **parts}

    def _auxiliary_loss(self, rows: Rows, strong_views) -> torch.Tensor:
        name = self.settings.auxiliary_loss
        if name == "swalip":
            return swalip_loss(*strong_views, self.strong_logit_scale.exp())
        if name == "slip":
            views = rows["strong_image_states"].unbind(1)
            return simclr_loss(*self._joined([_normalized(self.image_projector(view)) for view in views]))
        if name == "barlip":
            return self._barlip_loss(rows)
        return self._siamese_loss(rows)

    def _barlip_loss(self, rows: Rows) -> torch.Tensor:
        images, texts = ([projector(view) for view in views] for projector, views in self._projected_views(rows))
        batch_size = rows["image_states"].new_tensor(float(len(rows["image_states"])))
        if self._joins_processes():
            batch_size = all_reduce_with_grad(batch_size)

        def loss(image_features: torch.Tensor, text_features: torch.Tensor) -> torch.Tensor:
            # Each process multiplies its own rows.
            share = cross_correlation(image_features, text_features, batch_size)
            return redundancy_loss(all_reduce_with_grad(share) if self._joins_processes() else share)

        return torch.stack([loss(images[i], texts[j]) for i, j in _aligned(len(images))]).mean()

    def _siamese_loss(self, rows: Rows) -> torch.Tensor:
        projected = [[projector(view) for view in views] for projector, views in self._projected_views(rows)]
        predictors = (self.image_predictor, self.text_predictor)
        predictions = [[head(view) for view in views] for head, views in zip(predictors, projected, strict=True)]
        if self.momentum_copy is not None:
            projected = self._momentum_projections(rows)
        num_views = len(projected[0])
        joined = self._joined([_normalized(view) for views in (*predictions, *projected) for view in views])
        of_images, of_texts, images, texts = (joined[i * num_views : (i + 1) * num_views] for i in range(4))
        pairs = _aligned(num_views)
        terms = [negative_cosine_loss(of_images[i], texts[j]) for i, j in pairs]
        terms += [negative_cosine_loss(of_texts[j], images[i]) for i, j in pairs]
        return torch.stack(terms).mean()

    @torch.no_grad()
    def _momentum_projections(self, rows: Rows) -> list[list[torch.Tensor]]:
        copy = self.momentum_copy.module
        targets = {name.removeprefix("target_"): value for name, value in rows.items() if name.startswith("target_")}
        views = _views(targets)
        return [[copy[f"{side}_projector"](view) for view in views[side]] for side in ("image", "text")]

    def _projected_views(self, rows: Rows):
        """(projector, views) of images and of texts; each view has batch statistics of its own."""
        views = _views(rows)
        return (self.image_projector, views["image"]), (self.text_projector, views["text"])

    def _strong_embeds(self, rows: Rows) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
        """h of each strong image view and of each strong text view, of all processes, L2-normalized."""
        heads = (("strong_image_states", self.strong_image_head), ("strong_text_states", self.strong_text_head))
        embeds = self._joined([_normalized(head(view)) for name, head in heads for view in rows[name].unbind(1)])
        return embeds[: self.settings.num_strong_views], embeds[self.settings.num_strong_views :]

    def _joined(self, views: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        return all_gather_with_grad(*views) if self._joins_processes() else tuple(views)

    def _joins_processes(self) -> bool:
        # As CloobModel: evaluation is local.
        return self.training and torch.is_grad_enabled()

    def _averaged(self) -> nn.ModuleDict:
        """What the EMA copy averages: the towers and the projectors, not the predictors."""
        parts = {"model": self.model, "image_projector": self.image_projector, "text_projector": self.text_projector}
        return nn.ModuleDict(parts)

    def _states(self, model: CloobModel, inputs: Mapping[str, torch.Tensor]) -> Rows:
        """Pooled states of the weak pairs and of the strong views that a loss uses, each view in a pass of its own."""
        missing = [name for name in ("pixel_values", "strong_pixel_values") if inputs.get(name) is None]
        if missing:
            raise ValueError(f"{' and '.join(missing)} missing: this objective needs weak and strong views.")
        states = {
            "image_states": model.pooled_image_states(inputs["pixel_values"]).pooler_output,
            "text_states": inputs.get("text_pooler_output"),
        }
        if states["text_states"] is None:
            outputs = model.pooled_text_states(inputs.get("input_ids"), inputs.get("attention_mask"))
            states["text_states"] = outputs.pooler_output
        strong = [model.pooled_image_states(view).pooler_output for view in inputs["strong_pixel_values"].unbind(1)]
        states["strong_image_states"] = torch.stack(strong, dim=1)
        if self.settings.uses_strong_texts:
            # Texts have no batch statistics: all views in one pass.
            tokens, mask = (inputs[f"strong_{name}"].flatten(0, 1) for name in ("input_ids", "attention_mask"))
            with dropped_layer_inputs(model.text_model, self.settings.strong_text_dropout):
                pooled = model.pooled_text_states(tokens, mask).pooler_output
            states["strong_text_states"] = pooled.unflatten(0, (-1, self.settings.num_strong_views))
        return states


def _views(rows: Rows) -> dict[str, list[torch.Tensor]]:
    """Of both sides the weak view, then the strong ones."""
    return {side: [rows[f"{side}_states"], *rows[f"strong_{side}_states"].unbind(1)] for side in ("image", "text")}


def _aligned(num_views: int) -> list[tuple[int, int]]:
    """Which image view is aligned with which text view: weak with weak, and each strong one with each strong one."""
    strong = range(1, num_views)
    return [(0, 0), *((image, text) for image in strong for text in strong)]


def _projected(states: torch.Tensor, projection: nn.Module, offset: torch.Tensor | None) -> torch.Tensor:
    return _normalized(subtract_offset(projection(states), offset))


def _normalized(rows: torch.Tensor) -> torch.Tensor:
    return F.normalize(rows.to(torch.promote_types(rows.dtype, torch.float32)), dim=-1)
