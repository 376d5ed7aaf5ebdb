# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Whole batches through kornia: the same changes as PIL's for the same draws, seeded, and torch's draws left alone."""

import math
import random
import sys

import numpy as np
import pytest
import torch
from PIL import ImageFilter, ImageOps

from hf_cloob.data.batched_augmentation import AugmentedBatches, BatchedAugmentation, CanvasTransform
from hf_cloob.data.collator import ImageTextCollator
from hf_cloob.data.color_jitter import COLOR_CHANGES, change_colors
from hf_cloob.data.image_augmentation import EvaluationTransform
from hf_cloob.data.pairs import ImageTextPairs, StrongViews
from hf_cloob.data.strong_image_augmentation import StrongTransform
from hf_cloob.data.tokenizers import train_bpe_tokenizer

ZERO, ONE, HALF = (0.0,) * 3, (1.0,) * 3, (0.5,) * 3
OFF = {"color_jitter_probability": 0.0, "grayscale": 0.0, "blur": 0.0, "solarize": 0.0, "horizontal_flip": 0.0}
WHOLE = {"crop_scale": (1, 1), "crop_ratio": (1, 1)}
LUMA = torch.tensor([0.299, 0.587, 0.114])[:, None, None]


@pytest.fixture(scope="module")
def drawings(emoji):
    return [emoji["selection"][index]["image"].convert("RGB") for index in range(0, 640, 20)]


@pytest.fixture(scope="module")
def canvas(drawings):
    return torch.stack([CanvasTransform(64)(drawing) for drawing in drawings])


def only(**changes):
    return BatchedAugmentation(StrongTransform(64, ZERO, ONE, **WHOLE | OFF | changes))


def levels(image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255


def within_four_deviations(count, probability, draws):
    return abs(count - draws * probability) < 4 * math.sqrt(draws * probability * (1 - probability))


def test_a_canvas_is_the_central_square(drawings):
    assert torch.equal(CanvasTransform(64)(drawings[0]), (255 * levels(drawings[0])).byte())
    wide = drawings[0].resize((128, 64))
    assert torch.equal(CanvasTransform(64)(wide), (255 * levels(wide.crop((32, 0, 96, 64)))).byte())


def test_with_everything_off_it_normalizes_alone(canvas):
    torch.testing.assert_close(only()(canvas, 0), canvas / 255, rtol=0, atol=1e-4)
    whole = BatchedAugmentation(StrongTransform(64, HALF, (0.25,) * 3, **WHOLE, **OFF))
    torch.testing.assert_close(whole(canvas / 255, 0), (canvas / 255 - 0.5) / 0.25, rtol=0, atol=5e-4)


def test_color_changes_are_those_of_pil_for_the_same_draws(drawings, canvas):
    for seed in range(6):
        augmentation = only(color_jitter_probability=1.0)
        found = augmentation(canvas, seed)
        draws = augmentation.steps[1]._params
        for row, drawing in enumerate(drawings):
            changes = []
            for place in draws["order"].tolist():
                name = COLOR_CHANGES[place]
                changes.append((name, draws[f"{name}_factor"][row].item()))
            expected = levels(change_colors(drawing, changes))
            # PIL rounds to 8 bits after each change, hue included.
            assert (found[row] - expected).abs().mean() < 2.5 / 255
            assert (found[row] - expected).abs().quantile(0.99) < 24 / 255


def test_color_factors_have_torchvisions_ranges(canvas):
    augmentation = only(color_jitter_probability=1.0)
    drawn = {name: [] for name in COLOR_CHANGES}
    for seed in range(100):
        augmentation(canvas[:, :, :8, :8], seed)
        for name in COLOR_CHANGES:
            drawn[name].append(augmentation.steps[1]._params[f"{name}_factor"])
    for name, amount in zip(COLOR_CHANGES, (0.4, 0.4, 0.4, 0.1), strict=True):
        center = 0 if name == "hue" else 1
        factors = torch.cat(drawn[name])
        shares = torch.histc(factors, 8, center - amount, center + amount)
        assert len(factors) == shares.sum() == 3200, name
        assert all(within_four_deviations(share.item(), 1 / 8, 3200) for share in shares), name


def test_gray_flip_and_solarization_are_their_definitions(drawings, canvas):
    plain = canvas / 255
    gray = (plain * LUMA).sum(1, keepdim=True).expand_as(plain)
    torch.testing.assert_close(only(grayscale=1.0)(canvas, 0), gray, rtol=0, atol=1e-4)
    torch.testing.assert_close(only(horizontal_flip=1.0)(canvas, 0), plain.flip(-1), rtol=0, atol=1e-4)
    inverted = torch.stack([levels(ImageOps.solarize(drawing, 128)) for drawing in drawings])
    torch.testing.assert_close(only(solarize=1.0)(canvas, 0), inverted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("sigma", [0.7, 1.3, 2.0])
def test_the_blur_is_the_gaussian_and_close_to_pils(drawings, canvas, sigma):
    found = only(blur=1.0, blur_sigma=(sigma, sigma))(canvas, 0)
    offsets = torch.arange(-12, 13, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    weights = weights / weights.sum()
    expected = (canvas / 255).double()
    for axis in (2, 3):
        padding = (0, 0, 12, 12) if axis == 2 else (12, 12, 0, 0)
        expected = torch.nn.functional.pad(expected, padding, "reflect").unfold(axis, 25, 1) @ weights
    # Cut at four standard deviations.
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=0.5 / 255)
    pils = torch.stack([levels(drawing.filter(ImageFilter.GaussianBlur(sigma))) for drawing in drawings])
    assert (found - pils).abs().mean() < 1.5 / 255


def test_each_part_happens_to_each_picture_with_its_probability(canvas):
    plain = only()(canvas, 0)
    for name in ("color_jitter_probability", "grayscale", "blur", "solarize", "horizontal_flip"):
        augmentation = only(**{name: 0.3}, blur_sigma=(1.0, 2.0))
        batches = [(augmentation(canvas, seed) != plain).flatten(1).any(1) for seed in range(20)]
        assert within_four_deviations(sum(batch.sum().item() for batch in batches), 0.3, 20 * len(canvas)), name
        assert len({tuple(batch.tolist()) for batch in batches}) == 20


def test_crops_cover_the_areas_asked_for():
    # A ramp shows where a crop lies and how wide it is.
    ramp = torch.linspace(0, 1, 64).expand(256, 3, 64, 64)
    upright = ramp.transpose(2, 3)
    transform = StrongTransform(64, ZERO, ONE, crop_scale=(0.2, 0.6), **OFF)
    widths, heights = (
        (pixels.flatten(1).amax(1) - pixels.flatten(1).amin(1)).clamp(0, 1)
        for pixels in (BatchedAugmentation(transform)(picture, 1) for picture in (ramp, upright))
    )
    areas, ratios = widths * heights, widths / heights
    assert 0.15 < areas.min() and areas.max() < 0.65 and areas.max() - areas.min() > 0.3
    assert 0.65 < ratios.min() and ratios.max() < 1.5 and ratios.std() > 0.1


def test_a_seed_fixes_the_batch_and_leaves_torchs_generator_alone(canvas):
    augmentation = BatchedAugmentation(StrongTransform(48, HALF, HALF))
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = augmentation(canvas, 1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    assert torch.equal(augmentation(canvas, 1), first)
    assert not torch.equal(augmentation(canvas, 2), first)
    assert first.shape == (len(canvas), 3, 48, 48) and first.dtype == torch.float32
    assert first.abs().max() <= 1


def test_batches_get_views_that_a_resumed_run_draws_again(emoji):
    views = StrongViews(2, canvas=CanvasTransform(40))
    pairs = ImageTextPairs(emoji["train"], EvaluationTransform(32, HALF, HALF), strong_views=views)
    collator = ImageTextCollator(train_bpe_tokenizer(emoji["train"]["label"], 400), 16)
    keys = [[(0, index) for index in range(start, start + 4)] for start in (0, 4, 8)]
    augmentation = BatchedAugmentation(StrongTransform(32, HALF, HALF))

    def batches(first_step=0, **place):
        loader = torch.utils.data.DataLoader(pairs, batch_sampler=keys[first_step:], collate_fn=collator)
        augmented = AugmentedBatches(loader, augmentation, 2, torch.device("cpu"), 3, first_step, **place)
        assert len(augmented) == 3 - first_step
        return list(augmented)

    run, resumed, other = batches(), batches(first_step=1), batches(process_index=1)
    assert run[0]["strong_pixel_values"].shape == (4, 2, 3, 32, 32) and "strong_canvas" not in run[0]
    for expected, found in zip(run[1:], resumed, strict=True):
        assert torch.equal(expected["strong_pixel_values"], found["strong_pixel_values"])
    assert not torch.equal(run[0]["strong_pixel_values"], other[0]["strong_pixel_values"])
    assert not torch.equal(*run[0]["strong_pixel_values"].transpose(0, 1))
    # A view is of its own pair: colors of a whole crop come from that picture.
    plain = BatchedAugmentation(StrongTransform(40, HALF, HALF, **WHOLE, **OFF))
    loader = torch.utils.data.DataLoader(pairs, batch_sampler=keys, collate_fn=collator)
    batch = next(iter(AugmentedBatches(loader, plain, 2, torch.device("cpu"))))
    canvas = CanvasTransform(40)(emoji["train"][3]["image"].convert("RGB"))
    expected = (canvas / 255 - 0.5) / 0.5
    torch.testing.assert_close(batch["strong_pixel_values"][3], expected.expand(2, -1, -1, -1), rtol=0, atol=1e-4)


def test_what_it_cannot_do_or_has_not_is_named(monkeypatch):
    with pytest.raises(ValueError, match="has no rotation, translation and zoom"):
        BatchedAugmentation(StrongTransform(32, ZERO, ONE, rotation=5))
    monkeypatch.setitem(sys.modules, "kornia.augmentation", None)
    with pytest.raises(ImportError, match=r"pip install hf_cloob\[gpu\]"):
        BatchedAugmentation(StrongTransform(32, ZERO, ONE))


def test_pil_and_kornia_move_the_pixels_alike_on_average(drawings, canvas):
    transform = StrongTransform(64, ZERO, ONE)
    rng = random.Random(0)
    pil = torch.stack([transform(drawing, rng) for drawing in drawings for _ in range(20)])
    kornia = torch.cat([BatchedAugmentation(transform)(canvas, seed) for seed in range(20)])
    assert abs(pil.mean() - kornia.mean()) < 0.02
    assert abs(pil.std() - kornia.std()) < 0.02
