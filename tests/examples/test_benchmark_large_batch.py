# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""benchmark_large_batch.py with tiny towers: both ways give one gradient, and the chunks need less memory."""

import json
import sys

import benchmark_large_batch
import pytest
from benchmark_large_batch import BenchmarkArguments, benchmark


def test_a_small_run_has_the_plain_gradient_on_less_memory_and_trains(tmp_path, fresh_accelerate):
    args = BenchmarkArguments(
        output_dir=str(tmp_path), size="tiny", batch_size=512, micro_batch_size=32, plain=True, steps=3
    )
    metrics = benchmark(args)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert metrics["gradient_difference"] < 1e-4
    assert metrics["step_gib"] < 0.3 * metrics["plain_step_gib"]
    assert metrics["time_over_plain"] == pytest.approx(metrics["seconds"] / metrics["plain_seconds"])
    assert metrics["last_loss"] < metrics["first_loss"]


def test_a_mistake_is_named(monkeypatch):
    for flags, message in ((["--size", "huge"], "size must be one of small, tiny"), (["--steps", "0"], "at least 1")):
        monkeypatch.setattr(sys, "argv", ["benchmark_large_batch.py", *flags])
        with pytest.raises(SystemExit, match=message):
            benchmark_large_batch.main()
