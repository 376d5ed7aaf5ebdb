# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Planes and histograms: hand-made points land where they must, and a gap shows in its own plane only."""

import pytest
import torch
from torch.nn.functional import normalize

from hf_cloob.evaluation.geometry_view import NUM_BINS, cosine_histograms, gap_plane, plane_view, principal_plane


def pairs(gap: float, length: int = 300, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows that vary along the first two axes, and modalities that differ along the last of ten."""
    generator = torch.Generator().manual_seed(seed)
    rows = 0.02 * torch.randn(2, length, 10, generator=generator)
    rows[..., 0] += torch.randn(length, generator=generator)
    rows[..., 1] += 0.5 * torch.randn(length, generator=generator)
    rows[0, :, 9] -= gap / 2
    rows[1, :, 9] += gap / 2
    return normalize(rows[0], dim=-1), normalize(rows[1], dim=-1)


def difference(images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
    return images.mean(dim=0) - texts.mean(dim=0)


def test_the_principal_plane_holds_the_axes_of_most_variance_and_not_a_small_gap():
    images, texts = pairs(gap=0.1)
    plane = principal_plane(images, texts)
    torch.testing.assert_close(plane @ plane.T, torch.eye(2, dtype=torch.float64))
    assert plane[:, :2].norm() == pytest.approx(2**0.5, abs=0.01)
    view = plane_view(images, texts, plane)
    assert view.explained > 0.9
    first, second = (torch.tensor(points).mean(dim=0) for points in (view.image_points, view.text_points))
    assert (first - second).norm() < 0.02


def test_the_gap_plane_shows_the_gap_of_other_pairs_with_the_texts_on_the_right():
    images, texts = pairs(gap=0.1)
    plane = gap_plane(images, texts, difference(*pairs(gap=0.1, seed=1)))
    torch.testing.assert_close(plane @ plane.T, torch.eye(2, dtype=torch.float64), atol=1e-6, rtol=0)
    view = plane_view(images, texts, plane)
    first, second = (torch.tensor(points).mean(dim=0) for points in (view.image_points, view.text_points))
    gap = difference(images, texts).norm().item()
    assert (second - first)[0].item() == pytest.approx(gap, rel=0.15)
    # Across the gap lies the axis of most variance.
    assert plane[1, 0].abs() > 0.95


def test_a_gap_that_is_the_first_principal_axis_still_gives_a_plane():
    images, texts = pairs(gap=4.0)
    plane = gap_plane(images, texts, difference(images, texts))
    torch.testing.assert_close(plane @ plane.T, torch.eye(2, dtype=torch.float64), atol=1e-6, rtol=0)


def test_points_are_relative_to_the_middle_and_no_more_than_asked_for():
    images, texts = torch.eye(4)[:2], torch.eye(4)[[0, 2]]
    view = plane_view(images, texts, torch.eye(4, dtype=torch.float64)[:2])
    assert view.image_points == [[0.5, -0.25], [-0.5, 0.75]] and view.text_points == [[0.5, -0.25], [-0.5, -0.25]]
    assert view.explained == pytest.approx(1.75 / 2.5)
    assert len(plane_view(images, texts, torch.eye(4)[:2], num_shown=1).image_points) == 1


def test_histograms_tell_matched_pairs_from_others():
    images = torch.eye(5)
    found = cosine_histograms(images, images.clone())
    assert found["matched"][-1] == 1 and sum(found["matched"]) == 1
    assert found["mismatched"][NUM_BINS // 2] == 1
    assert cosine_histograms(images, -images)["matched"][0] == 1


def test_mistakes_are_named():
    images, texts = pairs(0.1)
    with pytest.raises(ValueError, match=r"at least two pairs; got \(300, 10\) and \(299, 10\)"):
        cosine_histograms(images, texts[:299])
    with pytest.raises(ValueError, match="text_embeds must have L2-normalized rows"):
        plane_view(images, 2 * texts, principal_plane(images, texts))
