# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Moving the modalities along the gap: nothing at 0, the centers meet at one gap, retrieval and loss follow."""

import pytest
import torch
from torch.nn.functional import normalize

from hf_cloob import clip_loss
from hf_cloob.evaluation.retrieval_metrics import recall_at_k
from hf_cloob.evaluation.shift_curve import SMALLEST_GAP, shift_curve


def pairs(gap: float, length: int = 200, width: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    common, *noise = torch.randn(3, length, width, generator=generator)
    direction = torch.nn.functional.one_hot(torch.tensor(3), width)
    images, texts = (normalize(common + 0.7 * side, dim=-1) for side in noise)
    return normalize(images + gap / 2 * direction, dim=-1), normalize(texts - gap / 2 * direction, dim=-1)


def gap_of(images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
    return images.mean(dim=0) - texts.mean(dim=0)


def test_without_a_shift_the_model_is_as_it_was():
    images, texts = pairs(1.0)
    curve = shift_curve(images, texts, gap_of(images, texts), 20.0, [0.0])
    assert curve.distances == [pytest.approx(gap_of(images, texts).norm().item(), abs=1e-6)]
    recalls = recall_at_k(images, texts, torch.arange(200), (1,))
    assert curve.recalls == [sum(recalls.values()) / 2]
    assert curve.losses == [pytest.approx(clip_loss(images, texts, 20.0).item(), abs=1e-6)]


def test_a_shift_is_the_formula():
    images, texts = pairs(1.0)
    gap_vector = gap_of(images, texts)
    step = 0.3 / 2 * gap_vector / gap_vector.norm()
    moved = normalize(images - step, dim=-1), normalize(texts + step, dim=-1)
    curve = shift_curve(images, texts, gap_vector, 20.0, [0.3])
    assert curve.losses == [pytest.approx(clip_loss(*moved, 20.0).item(), abs=1e-5)]
    along = (gap_of(*moved) @ gap_vector / gap_vector.norm()).item()
    assert curve.distances == [pytest.approx(along, abs=1e-6)]


def test_closing_a_gap_that_was_put_in_brings_retrieval_back_and_the_loss_down():
    images, texts = pairs(1.5)
    curve = shift_curve(images, texts, gap_of(images, texts), 20.0)
    assert curve.distances == sorted(curve.distances, reverse=True)
    own, closed = curve.shifts.index(0.0), min(range(len(curve.shifts)), key=lambda i: abs(curve.distances[i]))
    assert curve.distances[0] > curve.distances[own] > 0 > curve.distances[-1]
    assert curve.recalls[closed] > curve.recalls[own] + 0.02
    assert curve.losses[closed] < 0.6 * curve.losses[own]


def test_a_model_without_a_gap_is_moved_all_the_same():
    images, texts = pairs(0.0)
    curve = shift_curve(images, texts, 1e-6 * torch.ones(12), 20.0)
    assert max(curve.shifts) == pytest.approx(2.5 * SMALLEST_GAP) and min(curve.shifts) == -0.5 * SMALLEST_GAP
    assert curve.distances[0] - curve.distances[-1] > 0.3


def test_mistakes_are_named():
    images, texts = pairs(1.0)
    with pytest.raises(ValueError, match=r"gap_vector must be \(12,\); got \(3,\)"):
        shift_curve(images, texts, torch.ones(3), 20.0)
    with pytest.raises(ValueError, match="one projection_dim"):
        shift_curve(images, normalize(texts[:, :4], dim=-1), torch.ones(12), 20.0)
