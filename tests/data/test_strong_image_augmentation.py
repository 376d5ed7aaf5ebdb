# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Every part of the strong transform against its definition and its probability, on drawings of emoji."""

import inspect
import math
import pickle
import random

import numpy as np
import pytest
import torch

from hf_cloob.data.image_augmentation import WEAK_CROP_SCALE, EvaluationTransform, TrainingTransform
from hf_cloob.data.strong_image_augmentation import StrongTransform

ZERO, ONE, HALF = (0.0,) * 3, (1.0,) * 3, (0.5,) * 3
OFF = {"color_jitter_probability": 0.0, "grayscale": 0.0, "blur": 0.0, "solarize": 0.0, "horizontal_flip": 0.0}
WHOLE = {"crop_scale": (1, 1), "crop_ratio": (1, 1)}
LUMA = torch.tensor([0.299, 0.587, 0.114])[:, None, None]


@pytest.fixture(scope="module")
def drawing(emoji):
    return emoji["selection"][100]["image"]


def only(**changes):
    """The whole picture at its own size with nothing but these parts."""
    return StrongTransform(64, ZERO, ONE, **WHOLE, **OFF | changes)


def test_the_defaults_are_the_papers_numbers():
    defaults = {name: field.default for name, field in inspect.signature(StrongTransform).parameters.items()}
    assert defaults["crop_scale"] == (0.08, 1.0) and WEAK_CROP_SCALE == (0.5, 1.0)
    assert defaults["color_jitter"] == (0.4, 0.4, 0.4, 0.1) and defaults["color_jitter_probability"] == 0.8
    assert (defaults["grayscale"], defaults["solarize"], defaults["horizontal_flip"]) == (0.2, 0.0, 0.5)
    assert defaults["blur"] == 0.5 and defaults["blur_sigma"] == (0.1, 2.0)
    assert defaults["rotation"] == defaults["translation"] == defaults["zoom"] == 0


def test_with_everything_off_it_is_the_evaluation_transform(emoji):
    for index in range(0, 200, 40):
        image = emoji["selection"][index]["image"]
        expected = EvaluationTransform(64, ZERO, ONE)(image)
        torch.testing.assert_close(only()(image, random.Random(index)), expected, rtol=0, atol=1e-6)


def test_the_crop_and_the_affine_map_are_those_of_the_training_transform(drawing):
    shared = {"crop_scale": (0.3, 0.6), "rotation": 20, "translation": 0.1, "zoom": 0.2}
    strong, training = StrongTransform(48, HALF, HALF, **shared, **OFF), TrainingTransform(48, HALF, HALF, **shared)
    for seed in range(5):
        assert torch.equal(strong(drawing, random.Random(seed)), training(drawing, random.Random(seed)))


def test_grayscale_is_the_luma_and_a_flip_mirrors(drawing):
    plain = only()(drawing, random.Random(0))
    gray = only(grayscale=1.0)(drawing, random.Random(0))
    torch.testing.assert_close(gray, (plain * LUMA).sum(0, keepdim=True).expand(3, -1, -1), rtol=0, atol=1 / 255)
    assert torch.equal(only(horizontal_flip=1.0)(drawing, random.Random(0)), plain.flip(-1))


def test_solarization_inverts_the_upper_half(drawing):
    plain = 255 * only()(drawing, random.Random(0))
    expected = torch.where(plain.round() < 128, plain, 255 - plain)
    torch.testing.assert_close(255 * only(solarize=1.0)(drawing, random.Random(0)), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("sigma", [0.1, 0.7, 1.3, 2.0])
def test_the_blur_is_the_gaussian_of_its_standard_deviation(drawing, sigma):
    plain = 255 * only()(drawing, random.Random(0)).double().numpy()
    blurred = 255 * only(blur=1.0, blur_sigma=(sigma, sigma))(drawing, random.Random(0)).double().numpy()
    radius = 10
    weights = np.array([math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(-radius, radius + 1)])
    weights /= weights.sum()
    expected = plain
    for axis in (1, 2):
        padding = [(0, 0)] * 3
        padding[axis] = (radius, radius)
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(expected, padding, "edge"), 2 * radius + 1, axis)
        expected = windows @ weights
    # PIL's three box filters in place of the bell: exact on average, off at sharp edges.
    assert np.abs(blurred - expected).mean() < 1.5 and np.abs(blurred - expected).max() < 20
    if sigma > 0.5:
        assert np.abs(blurred - plain).mean() > 3 * np.abs(blurred - expected).mean()


def test_each_part_happens_with_its_probability(drawing):
    draws = 600

    def bound(probability):
        return 4 * (draws * probability * (1 - probability)) ** 0.5

    plain = only()(drawing, random.Random(0))
    for name in ("color_jitter_probability", "grayscale", "blur", "solarize", "horizontal_flip"):
        transform = only(**{name: 0.3}, blur_sigma=(1.0, 2.0))
        changed = sum(not torch.equal(transform(drawing, random.Random(seed)), plain) for seed in range(draws))
        assert abs(changed - draws * 0.3) < bound(0.3), name


def test_one_generator_state_gives_one_picture_in_range(emoji):
    transform = StrongTransform(32, ZERO, ONE, rotation=10, solarize=0.2)
    copy = pickle.loads(pickle.dumps(transform))
    for index in range(0, 100, 5):
        image = emoji["selection"][index]["image"]
        pixels = transform(image, random.Random(index))
        assert torch.equal(pixels, copy(image, random.Random(index)))
        assert pixels.shape == (3, 32, 32) and pixels.dtype == torch.float32
        assert pixels.min() >= 0 and pixels.max() <= 1
    assert not torch.equal(transform(image, random.Random(1)), transform(image, random.Random(2)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"crop_scale": (0, 1)}, "crop_scale must be a range within"),
        ({"rotation": -1}, "rotation must be from 0 to 180"),
        ({"blur": 2}, "blur must be from 0 to 1, got 2"),
        ({"blur_sigma": (0, 1)}, "blur_sigma must be a range above 0"),
        ({"color_jitter": (0.4, 0.4, 0.4)}, "color_jitter must be three amounts from 0 to 1 and one from 0 to 0.5"),
        ({"color_jitter": (0.4, 0.4, 0.4, 0.6)}, r"got \(0.4, 0.4, 0.4, 0.6\)"),
    ],
)
def test_senseless_amounts_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        StrongTransform(32, ZERO, ONE, **wrong)
