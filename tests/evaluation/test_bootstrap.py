# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Resampled rows: exact against drawing them by hand, and intervals as wide as figures vary over fresh samples."""

import math

import pytest
import torch

from hf_cloob.evaluation import bootstrap
from hf_cloob.evaluation.bootstrap import resampled_counts, resampled_interval, resampled_means


def test_every_resample_draws_as_many_rows_as_there_are():
    counts = resampled_counts(50, 20)
    assert counts.shape == (20, 50) and (counts.sum(dim=1) == 50).all()
    assert torch.equal(counts, resampled_counts(50, 20)) and not torch.equal(counts, resampled_counts(50, 20, seed=1))
    # With replacement: about 1/e of the rows are left out.
    assert (counts == 0).double().mean().item() == pytest.approx(math.exp(-1), abs=0.05)


def test_means_equal_those_of_the_drawn_rows_whatever_the_blocks(monkeypatch):
    values = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    counts = resampled_counts(30, 5)
    drawn = torch.stack([values.double().repeat_interleave(count.long(), dim=0).mean(dim=0) for count in counts])
    for rows in (7, 4096):
        monkeypatch.setattr(bootstrap, "ROWS_AT_ONCE", rows)
        torch.testing.assert_close(resampled_means(counts, values), drawn)
        torch.testing.assert_close(
            resampled_means(counts, values, torch.square), resampled_means(counts, values.double() ** 2)
        )


def test_rows_left_out_do_not_count():
    values, counts = torch.tensor([[1.0], [100.0], [3.0]]), torch.tensor([[2, 0, 2], [0, 0, 0]])
    means = resampled_means(counts, values)
    assert means[0].item() == 2 and means[1].isnan()


def test_the_interval_of_a_mean_is_as_wide_as_normal_theory_says():
    values = torch.randn(400, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    means = resampled_means(resampled_counts(400, 2000), values)[:, 0]
    low, high = resampled_interval(values.mean().item(), means)
    assert high - low == pytest.approx(2 * 1.96 * values.std().item() / 20, rel=0.08)
    assert low < values.mean() < high


def test_a_shift_that_resampling_causes_is_taken_out():
    resampled = torch.linspace(0, 1, 1001) + 5.0
    assert resampled_interval(0.0, resampled, confidence=0.8) == pytest.approx((-0.4, 0.4), abs=1e-6)
    assert resampled_interval(2.0, torch.full((9,), 7.0)) == (2.0, 2.0)
    assert resampled_interval(2.0, torch.tensor([float("nan"), 7.0])) == (2.0, 2.0)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="num_rows must be at least 1; got 0"):
        resampled_counts(0)
    with pytest.raises(ValueError, match="between 0 and 1; got 1"):
        resampled_interval(0.0, torch.zeros(3), confidence=1)
    with pytest.raises(ValueError, match="no resample has a value"):
        resampled_interval(0.0, torch.full((3,), float("nan")))
