# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The strong image augmentation of self-supervised learning, for the processes that prepare pictures."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps

from .color_jitter import change_colors, draw_color_jitter
from .image_augmentation import check_amounts, check_ranges, normalize, random_affine, resized_crop

# Pictures are solarized from this level on: half of the range, as torchvision's recipes have it.
SOLARIZE_THRESHOLD = 128


@dataclass(frozen=True)
class StrongTransform:
    """Random crop, affine map, color jitter, grayscale, blur, solarization and flip, in this order; then normalise.

    On PIL and NumPy only. The defaults are the published ones; every part can be switched off with a zero.

    Args:
        image_size: side of the result, in pixels.
        mean, std: per channel, for pictures in [0, 1].
        crop_scale, crop_ratio: as in `TrainingTransform`.
        rotation, translation, zoom: as in `TrainingTransform`; the paper has none, drawings profit.
        color_jitter: largest changes of brightness, contrast and saturation (relative) and of hue (a share of the
            full turn), see `color_jitter`.
        color_jitter_probability: of all four together.
        grayscale: probability.
        blur: probability of a Gaussian blur.
        blur_sigma: range of its standard deviation in pixels, whatever the image size. PIL's blur is three box
            filters: on drawings within 1 of 255 levels of the Gaussian on average, up to 24 at hard edges.
        solarize: probability that levels from 128 on are inverted.
        horizontal_flip: probability.

    Raises:
        ValueError: a range or amount makes no sense.

    Source: Fini et al. (arXiv 2305.08675); colors and blur as in SimCLR (Chen et al. 2020).
    """

    image_size: int
    mean: Sequence[float]
    std: Sequence[float]
    crop_scale: tuple[float, float] = (0.08, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    rotation: float = 0.0
    translation: float = 0.0
    zoom: float = 0.0
    color_jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)
    color_jitter_probability: float = 0.8
    grayscale: float = 0.2
    blur: float = 0.5
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarize: float = 0.0
    horizontal_flip: float = 0.5

    def __post_init__(self):
        check_ranges(self)
        check_amounts(self, {"rotation": 180, "translation": 1, "zoom": 0.99})
        check_amounts(self, dict.fromkeys(("color_jitter_probability", "grayscale", "blur"), 1))
        check_amounts(self, dict.fromkeys(("solarize", "horizontal_flip"), 1))
        check_color_jitter(self.color_jitter)
        if not 0 < self.blur_sigma[0] <= self.blur_sigma[1]:
            raise ValueError(f"blur_sigma must be a range above 0, got {self.blur_sigma}")

    def __call__(self, image: Image.Image, rng: random.Random) -> torch.Tensor:
        """Pixel values (num_channels, image_size, image_size) in float32."""
        return normalize(np.asarray(self.augment(image, rng)), self.mean, self.std)

    def augment(self, image: Image.Image, rng: random.Random) -> Image.Image:
        """The augmented RGB picture, before it is normalised."""
        image = resized_crop(image, self.image_size, self.crop_scale, self.crop_ratio, rng)
        if self.rotation or self.translation or self.zoom:
            image = random_affine(image, self.rotation, self.translation, self.zoom, rng)
        if rng.random() < self.color_jitter_probability:
            image = change_colors(image, draw_color_jitter(self.color_jitter, rng))
        if rng.random() < self.grayscale:
            image = image.convert("L").convert("RGB")
        if rng.random() < self.blur:
            image = image.filter(ImageFilter.GaussianBlur(rng.uniform(*self.blur_sigma)))
        if rng.random() < self.solarize:
            image = ImageOps.solarize(image, SOLARIZE_THRESHOLD)
        if rng.random() < self.horizontal_flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return image


def check_color_jitter(amounts: Sequence[float]) -> None:
    """Raise ValueError unless these are four amounts that `color_jitter` knows."""
    if len(amounts) != 4 or not all(0 <= amount <= 1 for amount in amounts[:3]) or not 0 <= amounts[3] <= 0.5:
        raise ValueError(f"color_jitter must be three amounts from 0 to 1 and one from 0 to 0.5, got {tuple(amounts)}")
