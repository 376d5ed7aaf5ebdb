# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the objective: all forms give one number, and what is written is what was measured."""

import dataclasses
import json

import benchmark_objective
import pytest
from benchmark_objective import BenchmarkArguments, benchmark
from command_line import UserError
from PIL import Image


def test_a_small_run_compares_equal_values_and_draws_them(tmp_path):
    args = BenchmarkArguments(output_dir=str(tmp_path), projection_dim=32, rounds=2)
    benchmark(dataclasses.replace(args, sizes=[700]))
    metrics = benchmark(dataclasses.replace(args, sizes=[256]))
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    for size in (256, 700):
        for name in ("dense", "published", "sdpa"):
            assert metrics[f"difference_from_{name}_{size}"] < 1e-5
            assert metrics[f"gradient_norm_over_{name}_{size}"] == pytest.approx(1, abs=1e-4)
            assert metrics[f"time_over_{name}_{size}"] == pytest.approx(
                metrics[f"blockwise_seconds_{size}"] / metrics[f"{name}_seconds_{size}"]
            )
    with Image.open(tmp_path / "objective.png") as picture:
        assert picture.width > 500


def test_forms_that_would_not_fit_are_left_out(tmp_path):
    args = BenchmarkArguments(output_dir=str(tmp_path), sizes=[512], projection_dim=16, rounds=1, memory_limit=0.001)
    metrics = benchmark(args)
    assert "blockwise_seconds_512" in metrics and "dense_seconds_512" not in metrics


def test_bfloat16_runs_on_the_cpu_and_the_forms_agree_to_its_digits(tmp_path):
    args = BenchmarkArguments(output_dir=str(tmp_path), sizes=[256], projection_dim=32, rounds=1, dtype="bfloat16")
    metrics = benchmark(args)
    assert metrics["dtype"] == "bfloat16" and metrics["share_of_product_rate_256"] > 0
    for name in ("dense", "published", "sdpa"):
        assert metrics[f"difference_from_{name}_256"] < 0.05
        assert metrics[f"gradient_norm_over_{name}_256"] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"device": "tpu"}, "device must be cpu or cuda, got 'tpu'"),
        ({"dtype": "float16"}, "dtype must be float32 or bfloat16, got 'float16'"),
        ({"device": "cuda"}, "device cuda needs a GPU, and torch .* sees none here; use --device cpu"),
    ],
)
def test_a_device_or_dtype_that_is_not_there_is_named(flags, message, tmp_path, monkeypatch):
    # A machine with a GPU shall give the same answer.
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match=message):
        benchmark(BenchmarkArguments(output_dir=str(tmp_path / "results"), **flags))
    assert not (tmp_path / "results").exists()


def test_the_peak_of_a_large_matrix_is_seen():
    import torch

    seen = {}
    with benchmark_objective.peak_memory("cpu", seen, "matrix"):
        torch.ones(4096, 4096).sum()
    assert seen["matrix"] == pytest.approx(4096 * 4096 * 4 / 2**30, rel=0.2)
