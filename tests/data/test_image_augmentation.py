# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The evaluation transform is CLIP's image processor; the training transform is bounded, seeded, neutral at zero."""

import pickle
import random

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil

from hf_cloob.data.image_augmentation import (
    EvaluationTransform,
    TrainingTransform,
    random_crop_box,
    saturation_hue_matrix,
)

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
ZERO, ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def noise(width, height):
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [(64, 64), (48, 48), (97, 63), (63, 98), (31, 200), (20, 17)])
def test_the_evaluation_transform_equals_clips_image_processor(size):
    processor = CLIPImageProcessorPil(size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48})
    expected = processor(noise(*size), return_tensors="pt")["pixel_values"][0]
    found = EvaluationTransform(48, CLIP_MEAN, CLIP_STD)(noise(*size), random.Random(0))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_it_equals_the_image_processor_on_an_emoji(emoji):
    image = emoji["selection"][0]["image"]
    processor = CLIPImageProcessorPil(size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48})
    expected = processor(image, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(EvaluationTransform(48, CLIP_MEAN, CLIP_STD)(image), expected, rtol=0, atol=1e-6)


def test_training_with_everything_off_is_evaluation_on_a_square(emoji):
    image = emoji["selection"][5]["image"]
    training = TrainingTransform(48, CLIP_MEAN, CLIP_STD, crop_scale=(1, 1), crop_ratio=(1, 1))
    torch.testing.assert_close(
        training(image, random.Random(0)), EvaluationTransform(48, CLIP_MEAN, CLIP_STD)(image), rtol=0, atol=2e-2
    )


def everything():
    return TrainingTransform(
        24,
        CLIP_MEAN,
        CLIP_STD,
        horizontal_flip=0.5,
        rotation=20,
        translation=0.1,
        zoom=0.2,
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        hue=0.1,
    )


def test_one_generator_state_gives_one_picture():
    image = noise(40, 30)
    transform, copy = everything(), pickle.loads(pickle.dumps(everything()))
    assert torch.equal(transform(image, random.Random(1)), copy(image, random.Random(1)))
    assert not torch.equal(transform(image, random.Random(1)), transform(image, random.Random(2)))


def test_every_result_has_the_shape_and_stays_in_range():
    transform = everything()
    low = (np.zeros(3) - CLIP_MEAN) / CLIP_STD
    high = (np.ones(3) - CLIP_MEAN) / CLIP_STD
    for seed in range(30):
        pixels = transform(noise(50, 17 + seed), random.Random(seed))
        assert pixels.shape == (3, 24, 24) and pixels.dtype == torch.float32
        assert (pixels.amin((1, 2)).numpy() >= low - 1e-5).all()
        assert (pixels.amax((1, 2)).numpy() <= high + 1e-5).all()


def test_the_crop_lies_inside_and_has_the_area_and_ratio_asked_for():
    rng = random.Random(0)
    for _ in range(500):
        left, top, right, bottom = random_crop_box((100, 100), (0.3, 0.6), (0.8, 1.25), rng)
        assert 0 <= left < right <= 100 and 0 <= top < bottom <= 100
        assert 0.3 - 1e-9 <= (right - left) * (bottom - top) / 1e4 <= 0.6 + 1e-9
        assert 0.8 - 1e-9 <= (right - left) / (bottom - top) <= 1.25 + 1e-9
    left, top, right, bottom = random_crop_box((200, 10), (1, 1), (1, 1), rng)
    assert (top, bottom, right - left) == (0, 10, pytest.approx(2000**0.5))


def still(**changes):
    return TrainingTransform(32, ZERO, ONE, crop_scale=(1, 1), crop_ratio=(1, 1), **changes)


def test_what_a_rotation_uncovers_is_white():
    black = Image.new("RGB", (32, 32))
    corners = [still(rotation=45)(black, random.Random(seed))[:, 0, 0] for seed in range(20)]
    assert max(corner.min().item() for corner in corners) == 1.0
    assert still(rotation=45)(black, random.Random(0))[:, 16, 16].max() == 0


def test_a_translation_shifts_and_a_zoom_resizes():
    dot = Image.new("RGB", (32, 32), "white")
    dot.paste((0, 0, 0), (12, 12, 20, 20))

    def dark(pixels):
        rows, columns = np.nonzero(pixels[0].numpy() < 0.5)
        return rows.mean() - 15.5, columns.mean() - 15.5, len(rows)

    shifts = [dark(still(translation=0.25)(dot, random.Random(seed))) for seed in range(20)]
    assert max(abs(row) for row, _, _ in shifts) > 4 and max(abs(column) for _, column, _ in shifts) > 4
    assert all(abs(row) < 9 and abs(column) < 9 for row, column, _ in shifts)
    sizes = [dark(still(zoom=0.5)(dot, random.Random(seed)))[2] for seed in range(20)]
    assert min(sizes) < 40 and max(sizes) > 100


def test_hue_and_saturation_leave_gray_alone_and_undo_each_other():
    matrix = saturation_hue_matrix(1.4, 0.07)
    np.testing.assert_allclose(matrix @ np.ones(3), np.ones(3), atol=1e-5)
    np.testing.assert_allclose(saturation_hue_matrix(1 / 1.4, -0.07) @ matrix, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(saturation_hue_matrix(0.0, 0.0) @ [255, 0, 0], np.full(3, 0.299 * 255), rtol=1e-3)


def test_a_third_of_the_circle_turns_red_into_a_green_or_blue():
    turned = [saturation_hue_matrix(1.0, turn) @ [1, 0, 0] for turn in (-1 / 3, 1 / 3)]
    assert sorted(int(np.argmax(color)) for color in turned) == [1, 2]


def test_contrast_and_brightness_change_what_they_say():
    image = noise(32, 32)
    plain = still()(image, random.Random(0))
    darker = [still(brightness=0.5)(image, random.Random(seed)).mean() / plain.mean() for seed in range(20)]
    assert min(darker) < 0.7 and max(darker) > 1.1
    flatter = [still(contrast=0.5)(image, random.Random(seed)).std() / plain.std() for seed in range(20)]
    assert min(flatter) < 0.7 and max(flatter) > 1.1


@pytest.mark.parametrize(
    "wrong",
    [{"crop_scale": (0.5, 1.2)}, {"crop_scale": (0, 1)}, {"crop_ratio": (2, 1)}, {"hue": 0.6}, {"rotation": -1}],
)
def test_senseless_amounts_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainingTransform(32, ZERO, ONE, **wrong)
