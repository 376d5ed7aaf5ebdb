# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Means, intervals and paired tests equal hand-made cases and SciPy's."""

import math
import random

import pytest
from scipy import stats

from hf_cloob.evaluation.statistics import (
    mean_and_std,
    mean_interval,
    paired_difference,
    t_probability,
    t_quantile,
)


def figures(count: int, seed: int) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(0.3, 0.02) for _ in range(count)]


def test_mean_and_std_of_a_hand_case_divide_by_n_minus_1():
    assert mean_and_std([1, 2, 3, 4, 10]) == {"n": 5, "mean": 4.0, "std": pytest.approx(math.sqrt(50 / 4))}


def test_a_single_run_has_no_std_and_no_interval():
    assert mean_and_std([0.25]) == {"n": 1, "mean": 0.25, "std": None}
    with pytest.raises(ValueError, match="at least 2 values; got 1"):
        mean_interval([0.25])


def test_the_interval_of_a_hand_case_uses_the_table_value_of_t():
    interval = mean_interval([1, 2, 3, 4, 5])
    reach = 2.7764451 * math.sqrt(2.5) / math.sqrt(5)
    assert (interval["low"], interval["high"]) == pytest.approx((3 - reach, 3 + reach))


@pytest.mark.parametrize("count", [2, 3, 5, 8, 31, 200])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_paired_differences_equal_the_paired_t_test_of_scipy(count, confidence):
    values, baseline = figures(count, seed=count), figures(count, seed=1000 + count)
    ours = paired_difference(values, baseline, confidence)
    theirs = stats.ttest_rel(values, baseline)
    low, high = theirs.confidence_interval(confidence)
    assert ours["p_value"] == pytest.approx(theirs.pvalue, rel=1e-9)
    assert (ours["low"], ours["high"]) == pytest.approx((low, high), rel=1e-9)
    assert ours["mean"] == pytest.approx(sum(values) / count - sum(baseline) / count)


def test_pairing_removes_what_two_runs_of_a_seed_share():
    shared = [0.1, 0.9, 0.4, 0.7, 0.2]
    noise = [0.001, -0.001, 0.002, 0.0, -0.002]
    better = [value + 0.01 + extra for value, extra in zip(shared, noise, strict=True)]
    paired = paired_difference(better, shared)
    assert 0 < paired["low"] < 0.01 < paired["high"]
    assert stats.ttest_ind(better, shared).pvalue > 0.9


def test_the_sign_is_values_minus_baseline():
    assert paired_difference([3, 4, 6], [1, 2, 3])["mean"] == pytest.approx(7 / 3)


def test_equal_differences_give_a_point_as_interval():
    assert paired_difference([1, 2], [1, 2]) == {"n": 2, "mean": 0, "std": 0, "low": 0, "high": 0, "p_value": 1}
    assert paired_difference([2, 3], [1, 2]) == {"n": 2, "mean": 1, "std": 0, "low": 1, "high": 1, "p_value": 0}


@pytest.mark.parametrize("degrees_of_freedom", [1, 2, 3, 4, 7, 30, 999, 1000])
def test_probabilities_and_quantiles_of_t_equal_scipy(degrees_of_freedom):
    for t in (0.0, 0.3, 1.0, 2.5, 12.0):
        expected = 1 - 2 * stats.t.sf(t, degrees_of_freedom)
        assert t_probability(t, degrees_of_freedom) == pytest.approx(expected, abs=1e-13)
    for confidence in (0.01, 0.5, 0.9, 0.95, 0.99, 0.9999):
        expected = stats.t.ppf((1 + confidence) / 2, degrees_of_freedom)
        assert t_quantile(confidence, degrees_of_freedom) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_and_std([]), "values is empty"),
        (lambda: mean_and_std([1.0, math.nan]), r"values\[1\] is nan"),
        (lambda: paired_difference([1, 2, 3], [1, 2]), "3 values and 2 of baseline"),
        (lambda: paired_difference([1, 2], [1, math.inf]), r"baseline\[1\] is inf"),
        (lambda: mean_interval([1, 2], confidence=95), "between 0 and 1; got 95"),
        (lambda: t_quantile(0.95, 0), "from 1 up; got 0"),
        (lambda: t_quantile(0.95, 2.5), "from 1 up; got 2.5"),
        (lambda: t_probability(-1.0, 3), "at least 0; got -1.0"),
    ],
)
def test_what_cannot_be_computed_is_explained(call, message):
    with pytest.raises(ValueError, match=message):
        call()
