# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""benchmark_memory.py on a small memory: every figure is written, and both searches agree."""

import json
import sys

import benchmark_memory
import pytest

SMALL = ["--memory_size", "3000", "--projection_dim", "32", "--rounds", "2", "--batch_sizes", "1,20", "--threads", "1"]


def test_every_figure_is_written_and_both_searches_agree(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["benchmark_memory.py", *SMALL, "--output_dir", str(tmp_path)])
    benchmark_memory.main()
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    for size in (1, 20):
        assert metrics[f"agreement_with_faiss_{size}"] > 0.999
        assert metrics[f"speed_over_faiss_{size}"] > 0 and metrics[f"exact_queries_per_second_{size}"] > 0
    assert metrics["entries"] == 3000 and 0 < metrics["disk_gb"] < 0.001 and metrics["open_seconds"] > 0
    assert metrics["add_seconds"] > 0 and metrics["remove_seconds"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_a_mistake_is_named(monkeypatch):
    for flags, message in (
        (["--memory_size", "0"], "memory_size must be at least 1, got 0"),
        (["--batch_sizes", "1,x"], "batch_sizes must be numbers from 1 up, got '1,x'"),
    ):
        monkeypatch.setattr(sys, "argv", ["benchmark_memory.py", *flags])
        with pytest.raises(SystemExit, match=message):
            benchmark_memory.main()
