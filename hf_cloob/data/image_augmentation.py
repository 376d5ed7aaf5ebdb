# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Pictures to pixel values: the evaluation transform of CLIP's image processor, and an augmenting one for training.

Both are small picklable callables, on PIL and NumPy only, that take (RGB picture, random.Random).
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

# The share of the area in the weak views of Fini et al. (arXiv 2305.08675), which have no other augmentation.
WEAK_CROP_SCALE = (0.5, 1.0)
# The luma weights of ITU-R BT.601, as PIL's "L" has them.
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class EvaluationTransform:
    """Resize the shortest side, cut out the center, normalise: what CLIP's image processor does at the same size.

    Args:
        image_size: side of the result, in pixels.
        mean, std: per channel, for pictures in [0, 1].
    """

    image_size: int
    mean: Sequence[float]
    std: Sequence[float]

    def __call__(self, image: Image.Image, rng: random.Random | None = None) -> torch.Tensor:
        """Pixel values (num_channels, image_size, image_size) in float32; `rng` is not used."""
        size, (width, height) = self.image_size, image.size
        short = min(width, height)
        # The long side is rounded down, as transformers and torchvision do.
        resized = tuple(size if side == short else int(size * side / short) for side in (width, height))
        image = image.resize(resized, Image.Resampling.BICUBIC)
        left, top = ((side - size) // 2 for side in resized)
        return normalize(np.asarray(image)[top : top + size, left : left + size], self.mean, self.std)


@dataclass(frozen=True)
class TrainingTransform:
    """Random crop, flip, affine map and colors, then normalise. Every part can be switched off with a zero.

    Args:
        image_size: side of the result, in pixels.
        mean, std: per channel, for pictures in [0, 1].
        crop_scale: range of the crop's share of the picture's area; (1, 1) with `crop_ratio` (1, 1) keeps everything
            of a square picture.
        crop_ratio: range of the crop's aspect ratio, drawn on a logarithmic scale.
        horizontal_flip: probability; off by default, since arrows and letters mean something else mirrored.
        rotation: largest angle either way, in degrees.
        translation: largest shift either way, as a share of the side.
        zoom: largest relative change of size either way (0.2: from 0.8 to 1.2). What the map uncovers is white.
        brightness, contrast, saturation: largest relative change either way.
        hue: largest turn of the color circle either way, as a share of the full turn (0.5 at most).

    Raises:
        ValueError: a range or amount makes no sense.

    Source: crop and colors as in Inception (Szegedy et al. 2015) and SimCLR (Chen et al. 2020, appendix A); the
        colors are one linear map of RGB, with the hue turned in YIQ, instead of a passage through HSV.
    """

    image_size: int
    mean: Sequence[float]
    std: Sequence[float]
    crop_scale: tuple[float, float] = (0.6, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    horizontal_flip: float = 0.0
    rotation: float = 0.0
    translation: float = 0.0
    zoom: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self):
        check_ranges(self)
        check_amounts(self, {"horizontal_flip": 1, "rotation": 180, "translation": 1, "zoom": 0.99, "hue": 0.5})
        check_amounts(self, dict.fromkeys(("brightness", "contrast", "saturation"), 1))

    def __call__(self, image: Image.Image, rng: random.Random) -> torch.Tensor:
        """Pixel values (num_channels, image_size, image_size) in float32."""
        image = resized_crop(image, self.image_size, self.crop_scale, self.crop_ratio, rng)
        if self.horizontal_flip and rng.random() < self.horizontal_flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self.rotation or self.translation or self.zoom:
            image = random_affine(image, self.rotation, self.translation, self.zoom, rng)
        pixels = np.asarray(image)
        if self.brightness or self.contrast or self.saturation or self.hue:
            pixels = self._colors(pixels, rng)
        return normalize(pixels, self.mean, self.std)

    def _colors(self, pixels: np.ndarray, rng: random.Random) -> np.ndarray:
        brightness, contrast, saturation = (
            1 + rng.uniform(-amount, amount) for amount in (self.brightness, self.contrast, self.saturation)
        )
        matrix = brightness * saturation_hue_matrix(saturation, rng.uniform(-self.hue, self.hue))
        pixels = pixels.astype(np.float32) @ matrix.T
        gray = float(pixels.reshape(-1, 3).mean(axis=0) @ _LUMA)
        pixels *= contrast
        pixels += (1 - contrast) * gray
        return np.clip(pixels, 0, 255, out=pixels)


def resized_crop(
    image: Image.Image, image_size: int, scale: tuple[float, float], ratio: tuple[float, float], rng: random.Random
) -> Image.Image:
    """A random crop (see `random_crop_box`) as a square of `image_size` pixels, bicubic."""
    box = random_crop_box(image.size, scale, ratio, rng)
    # The box goes into the resizing, which then filters over the crop only: one pass, antialiased.
    return image.resize((image_size, image_size), Image.Resampling.BICUBIC, box=box)


def random_crop_box(
    size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float], rng: random.Random
) -> tuple[float, float, float, float]:
    """A crop (left, top, right, bottom) of a share of the area and an aspect ratio drawn from the ranges.

    Sides are real numbers. A crop wider or higher than the picture is cut to it, so one draw is enough.
    """
    width, height = size
    area = width * height * rng.uniform(*scale)
    aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
    crop_width, crop_height = min(math.sqrt(area * aspect), width), min(math.sqrt(area / aspect), height)
    left, top = rng.uniform(0, width - crop_width), rng.uniform(0, height - crop_height)
    return left, top, min(left + crop_width, width), min(top + crop_height, height)


def random_affine(
    image: Image.Image, rotation: float, translation: float, zoom: float, rng: random.Random
) -> Image.Image:
    """A square picture turned, resized and shifted by draws up to the amounts of `TrainingTransform`, on white."""
    side = image.width
    angle = math.radians(rng.uniform(-rotation, rotation))
    scale = 1 + rng.uniform(-zoom, zoom)
    shift_x, shift_y = (rng.uniform(-translation, translation) * side for _ in range(2))
    # PIL wants the way back: from a place in the result to a place in the source, both around the center.
    cos, sin, center = math.cos(angle) / scale, math.sin(angle) / scale, side / 2
    x0, y0 = -center - shift_x, -center - shift_y
    matrix = (cos, sin, cos * x0 + sin * y0 + center, -sin, cos, -sin * x0 + cos * y0 + center)
    # Bilinear costs half of bicubic, and this is the dearest step of all.
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=(255, 255, 255)
    )


def saturation_hue_matrix(saturation: float, turn: float) -> np.ndarray:
    """The map (3, 3) of RGB that scales saturation and turns the hue by a share of the circle; gray stays gray."""
    # YIQ of the NTSC standard: its I and Q are the color plane, its Y the luma.
    to_yiq = np.array([_LUMA, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
    cos, sin = math.cos(2 * math.pi * turn) * saturation, math.sin(2 * math.pi * turn) * saturation
    change = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    return (np.linalg.inv(to_yiq) @ change @ to_yiq).astype(np.float32)


def normalize(pixels: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Pixels (height, width, num_channels) in [0, 255] to normalised float32 (num_channels, height, width)."""
    scale = (1 / (255 * np.asarray(std))).astype(np.float32)
    offset = (np.asarray(mean) / np.asarray(std)).astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray((pixels * scale - offset).transpose(2, 0, 1)))


def check_ranges(transform) -> None:
    """Raise ValueError unless the ranges of a transform's crop can be drawn from."""
    for name, limit in (("crop_scale", 1), ("crop_ratio", math.inf)):
        low, high = getattr(transform, name)
        if not 0 < low <= high <= limit:
            raise ValueError(f"{name} must be a range within (0, {limit}], got {(low, high)}")


def check_amounts(transform, limits: dict[str, float]) -> None:
    """Raise ValueError unless each amount of a transform is from 0 to its limit."""
    for name, limit in limits.items():
        value = getattr(transform, name)
        if not 0 <= value <= limit:
            raise ValueError(f"{name} must be from 0 to {limit}, got {value}")
