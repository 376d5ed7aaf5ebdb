# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A model with a second head: its embeddings z, the head's h, and mixtures of their cosines as ordinary embeddings."""

import hashlib
import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ..encoding import encode_images, encode_texts


class TwoHeadEncoder:
    """Embed once with both heads, and mix as often as one likes.

    For unit vectors z and h the inner product of two vectors [sqrt(w) z; sqrt(1 - w) h] is w cos_z + (1 - w) cos_h,
    and they have unit length. So a mixture is an encoder like any other: `mixture(1)` gives the model's own cosines,
    `mixture(0)` those of the head. An ensemble of prompts averages the joined vectors.

    Args:
        model: a [`CloobModel`].
        image_head: from pooled image states (batch_size, width) to h, not normalized.
        text_head: the same for texts.
    """

    def __init__(self, model: Any, image_head: nn.Module, text_head: nn.Module):
        self._model = _BothHeads(model, image_head, text_head)
        self._images: dict[Hashable, torch.Tensor] = {}
        self._texts: dict[Hashable, torch.Tensor] = {}

    def mixture(self, weight: float) -> "Mixture":
        """The encoder of w cos_z + (1 - w) cos_h.

        Args:
            weight: w in [0, 1].

        Raises:
            ValueError: for a weight out of range.
        """
        if not 0 <= weight <= 1:
            raise ValueError(f"The weight of a mixture must be in [0, 1], got {weight}.")
        return Mixture(self, weight)

    def images(self, images: Sequence, processor: Any, batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """z and h of images, each (num_images, projection_dim), L2-normalized; each picture is embedded once."""
        images = list(images)
        keys = [_fingerprint(image) for image in images]
        return self._both(
            self._images, keys, images, lambda new: encode_images(self._model, new, processor, batch_size)
        )

    def texts(self, texts: Sequence[str], processor: Any, batch_size: int, **kwargs: Any):
        """z and h of texts, the same."""
        texts = [texts] if isinstance(texts, str) else list(texts)
        return self._both(
            self._texts, texts, texts, lambda new: encode_texts(self._model, new, processor, batch_size, **kwargs)
        )

    def _both(self, kept: dict, keys: list, items: list, encode: Callable) -> tuple[torch.Tensor, torch.Tensor]:
        new = {key: item for key, item in zip(keys, items, strict=True) if key not in kept}
        if new:
            kept |= dict(zip(new, encode(list(new.values())), strict=True))
        both = torch.stack([kept[key] for key in keys])
        # The encoders normalize the two unit vectors together.
        z, h = both.split([self._model.z_width, both.shape[1] - self._model.z_width], dim=1)
        return F.normalize(z, dim=1), F.normalize(h, dim=1)


class Mixture:
    """An encoder of one mixture of a [`TwoHeadEncoder`], in the place of a model with these two methods."""

    def __init__(self, encoder: TwoHeadEncoder, weight: float):
        self.encoder, self.weight = encoder, weight

    def encode_images(self, images: Sequence, processor: Any, batch_size: int = 64) -> torch.Tensor:
        """(num_images, width of z + width of h), L2-normalized float32 on the CPU."""
        return self._mixed(self.encoder.images(images, processor, batch_size))

    def encode_texts(self, texts: Sequence[str], processor: Any, batch_size: int = 64, **kwargs: Any) -> torch.Tensor:
        """(num_texts, width of z + width of h), L2-normalized float32 on the CPU."""
        return self._mixed(self.encoder.texts(texts, processor, batch_size, **kwargs))

    def _mixed(self, embeds: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        z, h = embeds
        return torch.cat([math.sqrt(self.weight) * z, math.sqrt(1 - self.weight) * h], dim=1)


def mixture_report(
    encoder: TwoHeadEncoder, evaluate: Callable[[Mixture, bool], dict[str, float]], num_weights: int = 11
) -> dict[str, float]:
    """Choose the weight on selection data, and measure the head alone and the chosen mixture on everything.

    Args:
        encoder: both heads.
        evaluate: (encoder, final) -> flat metrics. The first one of a non-final evaluation, which sees selection data
            only, chooses the weight; of equal ones the largest, nearest to the model's own z, is chosen.
        num_weights: weights from 0 to 1 that are tried, both included.

    Returns:
        `mixture_weight`, and the final metrics under their names behind `h_` and `mixture_`.
    """
    weights = [index / (num_weights - 1) for index in reversed(range(num_weights))]
    selected = [next(iter(evaluate(encoder.mixture(weight), False).values())) for weight in weights]
    best = weights[selected.index(max(selected))]
    report: dict[str, float] = {"mixture_weight": best}
    for prefix, weight in (("h", 0.0), ("mixture", best)):
        figures = evaluate(encoder.mixture(weight), True)
        # Numbers of images and candidates are those of the model's own evaluation.
        report |= {f"{prefix}_{name}": value for name, value in figures.items() if "_num_" not in name}
    return report


class _BothHeads(nn.Module):
    """A dual encoder whose features are the unit vectors z and h, side by side."""

    def __init__(self, model: Any, image_head: nn.Module, text_head: nn.Module):
        super().__init__()
        self.model, self.image_head, self.text_head = model, image_head, text_head
        self.config, self.z_width = model.config, model.config.projection_dim

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    def get_image_features(self, pixel_values: torch.Tensor):
        outputs = self.model.pooled_image_states(pixel_values)
        return self._with_both(outputs, self.model.visual_projection, self.image_head)

    def get_text_features(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any):
        outputs = self.model.pooled_text_states(input_ids, attention_mask, **kwargs)
        return self._with_both(outputs, self.model.text_projection, self.text_head)

    def _with_both(self, outputs, projection: nn.Module, head: nn.Module):
        pooled = outputs.pooler_output
        parts = (F.normalize(embeds.float(), dim=1) for embeds in (projection(pooled), head(pooled)))
        outputs.pooler_output = torch.cat(tuple(parts), dim=1)
        return outputs


def _fingerprint(image: Any) -> Hashable:
    """A picture's content, a path's name; what is neither is taken for different from everything else."""
    if hasattr(image, "tobytes") and hasattr(image, "size"):
        return str(image.size), getattr(image, "mode", ""), hashlib.sha256(image.tobytes()).hexdigest()
    return str(image) if isinstance(image, str) or hasattr(image, "__fspath__") else id(image)
