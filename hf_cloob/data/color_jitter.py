# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Changes of a picture's colors as torchvision's ColorJitter defines them, on PIL: pure functions (picture, factor).

With gray(p) the luma of a pixel (ITU-R BT.601), results cut to the range:
    brightness: f·p      contrast: f·p + (1 − f)·mean(gray)      saturation: f·p + (1 − f)·gray(p)
    hue: the picture in HSV with H turned by a share of the circle
"""

import random
from collections.abc import Sequence

from PIL import Image, ImageEnhance

COLOR_CHANGES = ("brightness", "contrast", "saturation", "hue")


def draw_color_jitter(amounts: Sequence[float], rng: random.Random) -> list[tuple[str, float]]:
    """The four changes in a random order with their factors, those with the amount 0 left out.

    Args:
        amounts: of brightness, contrast and saturation: factors are drawn from [1 − amount, 1 + amount]; of hue: the
            turn is drawn from [−amount, amount].
    """
    changes = []
    for name, amount in zip(COLOR_CHANGES, amounts, strict=True):
        if amount:
            changes.append((name, rng.uniform(-amount, amount) + (name != "hue")))
    rng.shuffle(changes)
    return changes


def change_colors(image: Image.Image, changes: Sequence[tuple[str, float]]) -> Image.Image:
    """Apply changes (name, factor) to an RGB picture one after the other, each rounded to 8 bits."""
    for name, factor in changes:
        image = _CHANGE[name](image, factor)
    return image


def turn_hue(image: Image.Image, turn: float) -> Image.Image:
    """Turn the hue by a share of the color circle, from −0.5 to 0.5, in PIL's HSV of 8 bits."""
    hue, saturation, value = image.convert("HSV").split()
    steps = int(turn * 255)
    hue = hue.point([(level + steps) % 256 for level in range(256)])
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


_CHANGE = {
    "brightness": lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    "contrast": lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    "saturation": lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    "hue": turn_hue,
}
