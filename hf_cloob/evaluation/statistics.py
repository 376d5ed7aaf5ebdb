# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What a handful of seeds can tell: mean and spread, paired differences, Student's t without another package."""

import math
from collections.abc import Sequence

# A bisection halves the angle this often: below the resolution of a float.
_HALVINGS = 80


def mean_and_std(values: Sequence[float]) -> dict[str, float | int | None]:
    """Mean and sample standard deviation (divided by n − 1) of one figure over runs.

    Args:
        values: one figure a run, at least one.

    Returns:
        `n`, `mean` and `std`; `std` is None for a single run, whose spread nobody knows.

    Raises:
        ValueError: no value, or one that is not finite.
    """
    values = _finite("values", values)
    mean = math.fsum(values) / len(values)
    return {"n": len(values), "mean": mean, "std": _std(values, mean) if len(values) > 1 else None}


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> dict[str, float | int | None]:
    """Student's t-interval of the mean: mean ± t_{n−1} · std / √n.

    Args:
        values: one figure a run, at least two.
        confidence: share of such intervals that hold the true mean, between 0 and 1.

    Returns:
        `n`, `mean`, `std`, `low` and `high`.

    Raises:
        ValueError: fewer than two values, one that is not finite, a confidence outside 0 to 1.
    """
    summary = mean_and_std(values)
    if summary["n"] < 2:
        raise ValueError(f"an interval needs at least 2 values; got {summary['n']}.")
    reach = t_quantile(confidence, summary["n"] - 1) * summary["std"] / math.sqrt(summary["n"])
    return summary | {"low": summary["mean"] - reach, "high": summary["mean"] + reach}


def paired_difference(
    values: Sequence[float], baseline: Sequence[float], confidence: float = 0.95
) -> dict[str, float | int | None]:
    """Mean of values − baseline over pairs, with its t-interval and the p-value of the paired t-test.

    What the runs of one seed share (data order, weights of equal shape) cancels in their difference. Nothing is
    adjusted for the number of comparisons one makes.

    Args:
        values, baseline: one figure a run, in the same order of seeds; at least two.
        confidence: of the interval, between 0 and 1.

    Returns:
        `n`, `mean` (the difference), `std` (of the differences), `low`, `high` and `p_value` (two-sided). Where all
        differences are equal the interval is a point, and `p_value` is 1 for no difference and 0 otherwise.

    Raises:
        ValueError: lists of unequal length or shorter than 2, a value that is not finite, a confidence outside 0 to 1.
    """
    values, baseline = _finite("values", values), _finite("baseline", baseline)
    if len(values) != len(baseline):
        raise ValueError(
            f"pairs need lists of equal length; got {len(values)} values and {len(baseline)} of baseline."
        )
    summary = mean_interval([value - base for value, base in zip(values, baseline, strict=True)], confidence)
    error = summary["std"] / math.sqrt(summary["n"])
    if error == 0:
        return summary | {"p_value": float(summary["mean"] == 0)}
    return summary | {"p_value": 1 - t_probability(abs(summary["mean"]) / error, summary["n"] - 1)}


def t_probability(t: float, degrees_of_freedom: int) -> float:
    """P(|T| < t) of Student's t with a whole number of degrees of freedom: a finite sum, so exact.

    With θ = arctan(t / √ν):
        ν even: sin θ · (1 + 1/2 cos²θ + 1·3/(2·4) cos⁴θ + … up to cos^{ν−2}θ)
        ν odd:  2/π · (θ + sin θ · (cos θ + 2/3 cos³θ + 2·4/(3·5) cos⁵θ + … up to cos^{ν−2}θ))

    Args:
        t: at least 0.
        degrees_of_freedom: ν, a whole number from 1 up.

    Raises:
        ValueError: t below 0 or not a number, or degrees_of_freedom below 1.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    if not t >= 0:
        raise ValueError(f"t must be at least 0; got {t}.")
    if degrees_of_freedom < 1 or degrees_of_freedom != int(degrees_of_freedom):
        raise ValueError(f"degrees_of_freedom must be a whole number from 1 up; got {degrees_of_freedom}.")
    return _probability_of_angle(math.atan(t / math.sqrt(degrees_of_freedom)), int(degrees_of_freedom))


def t_quantile(confidence: float, degrees_of_freedom: int) -> float:
    """The t that |T| stays below with probability `confidence`: 2.776 for 0.95 and 4 degrees of freedom.

    Raises:
        ValueError: a confidence outside 0 to 1 (exclusive), or degrees_of_freedom below 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1; got {confidence}.")
    t_probability(0.0, degrees_of_freedom)
    # The angle is bounded where t is not, and the probability rises with it.
    low, high = 0.0, math.pi / 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _probability_of_angle(middle, int(degrees_of_freedom)) < confidence:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees_of_freedom) * math.tan((low + high) / 2)


def _probability_of_angle(angle: float, degrees_of_freedom: int) -> float:
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees_of_freedom % 2
    term, total = cosine if odd else 1.0, 0.0
    for power in range(odd, degrees_of_freedom - 1, 2):
        total += term
        term *= cosine * cosine * (power + 1) / (power + 2)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def _std(values: Sequence[float], mean: float) -> float:
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _finite(name: str, values: Sequence[float]) -> list[float]:
    values = [float(value) for value in values]
    if not values:
        raise ValueError(f"{name} is empty; there is nothing to average.")
    for place, value in enumerate(values):
        if not math.isfinite(value):
            raise ValueError(f"{name}[{place}] is {value}; statistics need finite numbers.")
    return values
