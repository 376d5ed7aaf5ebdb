# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Figures of the geometry against hand-made cases, the losses, scipy, and their own spread over fresh samples."""

import math

import pytest
import scipy.stats
import torch
from torch.nn.functional import normalize

from hf_cloob import alignment_loss, cross_modal_uniformity_loss, uniformity_loss
from hf_cloob.evaluation.geometry_metrics import (
    geometry_metrics,
    linear_separability,
    relative_gap,
    separability_by_pair,
    skewness,
)
from hf_cloob.evaluation.geometry_pairs import pair_statistics

INTERVALS = ("_low", "_high")


def draw(seed: int, length: int = 200, width: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Fresh pairs of one distribution: a gap, a cone, unequal variances."""
    generator = torch.Generator().manual_seed(seed)
    common, *noise = torch.randn(3, length, width, generator=generator) * torch.linspace(1, 0.2, width)
    return normalize(common + 0.5 * noise[0] + 0.2, dim=-1), normalize(common + 0.5 * noise[1] - 0.1, dim=-1)


def figures(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.endswith(INTERVALS)}


def shifted_clusters(shift: float, width: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit rows whose two modalities are the same points, moved apart by `shift` along an axis of its own."""
    points = torch.cat([torch.eye(width - 1), -torch.eye(width - 1)]) * math.sqrt(1 - shift**2 / 4)
    column = torch.full((len(points), 1), shift / 2)
    return torch.cat([points, column], dim=1), torch.cat([points, -column], dim=1)


def test_identical_modalities_have_no_gap_of_any_kind():
    images, _ = draw(0)
    found = geometry_metrics(images, images.clone())
    for name in ("relative_modality_gap", "modality_gap", "alignment"):
        assert [found[name + end] for end in ("", *INTERVALS)] == [0, 0, 0]
    # A pair's two rows are one point: whatever the probe says is right for one of them.
    assert [found["linear_separability" + end] for end in ("", *INTERVALS)] == [0.5, 0.5, 0.5]
    assert found["matched_cosine"] == pytest.approx(1, abs=1e-6)
    assert found["cross_modal_uniformity"] == pytest.approx(found["image_uniformity"], abs=1e-6)


def test_one_distribution_cannot_be_told_apart_and_two_can():
    images, texts = draw(1, length=3000)[0], draw(2, length=3000)[0]
    assert linear_separability(images, texts) == pytest.approx(0.5, abs=0.05)
    assert linear_separability(images, -texts) > 0.6
    assert linear_separability(*shifted_clusters(0.5, width=40)) == 1.0


@pytest.mark.parametrize("shift", [0.05, 0.5, 1.5])
def test_clusters_shifted_by_s_have_centers_at_distance_s(shift):
    found = geometry_metrics(*shifted_clusters(shift), num_resamples=20)
    assert found["modality_gap"] == pytest.approx(shift, abs=1e-6)
    assert found["alignment"] == pytest.approx(shift**2, abs=1e-6)
    # In each modality 11 axes both ways: of ranks and counts the shift says nothing.
    for side in ("image", "text"):
        assert found[f"{side}_effective_rank"] == pytest.approx(11, abs=1e-5)
        assert [found[f"{side}_eigenvalues_{share}"] for share in (90, 95, 99)] == [10, 11, 11]


def test_the_relative_gap_is_half_for_unrelated_and_one_for_collapsed_modalities():
    assert relative_gap(0.0, 0.3, 0.2).item() == 0
    assert relative_gap(2.0, 0.0, 0.0).item() == pytest.approx(0.5)
    assert relative_gap(1.0, 1.0, 1.0).item() == 1
    assert relative_gap(0.0, 1.0, 1.0).item() == 0
    images, texts = draw(3)[0], draw(4)[0]
    found = geometry_metrics(images, texts, num_resamples=20)
    assert found["relative_modality_gap"] == pytest.approx(0.5, abs=0.02)


def test_every_figure_equals_its_loss_or_loop():
    images, texts = draw(5, length=60)
    found = geometry_metrics(images, texts, num_resamples=20)
    assert found["alignment"] == pytest.approx(alignment_loss(images, texts).item(), abs=1e-6)
    assert found["image_uniformity"] == pytest.approx(uniformity_loss(images).item(), abs=1e-6)
    assert found["text_uniformity"] == pytest.approx(uniformity_loss(texts).item(), abs=1e-6)
    cross = cross_modal_uniformity_loss(images, texts).item()
    assert found["cross_modal_uniformity"] == pytest.approx(cross, abs=1e-6)
    x, y = images.double(), texts.double()
    others = [(i, j) for i in range(60) for j in range(60) if i != j]
    mismatched = sum(float(x[i] @ y[j]) for i, j in others) / len(others)
    assert found["mismatched_cosine"] == pytest.approx(mismatched, abs=1e-6)
    matched = sum(float(1 - x[i] @ y[i]) / 2 for i in range(60)) / 60
    within = sum(float(2 - x[i] @ x[j] - y[i] @ y[j]) / 2 for i, j in others) / len(others) / 2
    assert found["relative_modality_gap"] == pytest.approx(matched / (matched + within), abs=1e-6)
    statistics = pair_statistics(images, texts)
    for way, side in (("image_to_text", "text"), ("text_to_image", "image")):
        skew = scipy.stats.skew(statistics[f"{side}_occurrences"].numpy())
        assert found[f"{way}_hubness"] == pytest.approx(skew, abs=1e-9)


def test_equal_occurrences_have_no_skew():
    assert skewness(torch.tensor(10.0), torch.tensor(100.0), torch.tensor(1000.0)).item() == 0
    # A permutation of the axes: every text is nearest to exactly one image.
    eye = torch.eye(15)
    found = geometry_metrics(eye, eye.flip(0).flip(0), k=1, num_resamples=20)
    assert found["image_to_text_hubness"] == 0 and found["image_to_text_recall@1"] == 1


def test_the_probe_is_tested_on_pairs_that_it_has_not_seen():
    images, texts = draw(6, length=50)
    rows, accuracy = separability_by_pair(images, texts)
    assert len(rows) == 10 and len(rows.unique()) == 10 and set(accuracy.tolist()) <= {0.0, 0.5, 1.0}
    assert linear_separability(images, texts) == accuracy.mean().item()
    assert not torch.equal(rows, separability_by_pair(images, texts, seed=1)[0])
    # Points that mean nothing are learned by heart, which must not count.
    noise = normalize(torch.randn(2, 60, 200, generator=torch.Generator().manual_seed(0)), dim=-1)
    assert linear_separability(*noise) < 0.8


def test_every_interval_holds_its_figure_and_seeds_repeat():
    images, texts = draw(7)
    found = geometry_metrics(images, texts)
    for name, value in figures(found).items():
        assert found[f"{name}_low"] <= value <= found[f"{name}_high"], name
    assert geometry_metrics(images, texts) == found
    assert all(isinstance(found[f"image_eigenvalues_99{end}"], int) for end in ("", *INTERVALS))


def test_intervals_are_as_wide_as_figures_vary_over_fresh_samples():
    runs = [geometry_metrics(*draw(seed), num_resamples=200) for seed in range(40)]
    # Counts jump, and shares near 1 hardly vary.
    smooth = [name for name in figures(runs[0]) if "eigenvalues" not in name and "recall@1" not in name]
    smooth = [name for name in smooth if "recall@5" not in name]
    assert len(smooth) == 13
    for name in smooth:
        values = torch.tensor([run[name] for run in runs])
        width = sum(run[f"{name}_high"] - run[f"{name}_low"] for run in runs) / len(runs)
        assert width / (3.92 * values.std().item()) == pytest.approx(1, abs=0.35), name


def test_too_few_pairs_are_named():
    images, texts = draw(0, length=10)
    with pytest.raises(ValueError, match="10 neighbors need more than 10 pairs; got 10"):
        geometry_metrics(images, texts)
    with pytest.raises(ValueError, match="at least 5 pairs; got 4"):
        linear_separability(images[:4], texts[:4])
