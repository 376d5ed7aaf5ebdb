# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""benchmark_memory.py on small memories of two small collections of icons: every figure is written."""

import json
import sys

import benchmark_memory
import benchmark_memory_timing
import pytest
from tiny_reco import save_base

SMALL = "--rounds 1 --batch_sizes 1 20 --threads 1 --num_queries 50 --icon_collections maki streamline-emojis".split()


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> list[str]:
    """Two encoders of 16 dimensions."""
    return [str(save_base("cloob", tmp_path_factory.mktemp("base"), seed)) for seed in (0, 1)]


def test_every_figure_is_written(monkeypatch, checkpoints, tmp_path, capsys):
    flags = [*checkpoints, *SMALL, "--output_dir", str(tmp_path), "--memory_sizes", "2000"]
    monkeypatch.setattr(sys, "argv", ["benchmark_memory.py", *flags])
    # Eleven passes of all twelve layers would take most of the test's time.
    monkeypatch.setitem(benchmark_memory_timing.VIT_B_32, "num_hidden_layers", 1)
    benchmark_memory.main()
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["projection_dim"] == 32 and 700 < metrics["num_icons"] < 2000 and metrics["num_queries"] == 50
    assert metrics["entries_2000"] == 2000 and 0 < metrics["disk_gb_2000"] < 0.001
    assert metrics["flat_recall_2000"] == 1 and metrics["hnsw_recall_2000"] > 0.98 and metrics["ivf_recall_2000"] > 0.9
    assert metrics["ivf_gb_2000"] < metrics["hnsw_gb_2000"] and metrics["ivf_gb_2000"] < metrics["flat_gb_2000"]
    timed = ("open_seconds", "add_seconds", "remove_seconds", "exact_over_flat_batch_20", "encoder_seconds_batch_16")
    timed += tuple(f"{name}_queries_per_second_batch_1" for name in benchmark_memory.SEARCHES)
    timed += tuple(f"{name}_share_of_encoder" for name in (*benchmark_memory.SEARCHES, "fusion"))
    assert all(metrics[f"{name}_2000"] > 0 for name in timed)
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.json", "memory.png"}
    printed = capsys.readouterr().out
    assert "2,000 x 32: " in printed and "FAISS IVF, 8 bits" in printed


def test_figures_of_another_setting_are_not_kept(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps({"threads": 2, "projection_dim": 512, "disk_gb_300": 1.5}))
    setting = {"threads": 2, "projection_dim": 512}
    assert benchmark_memory.earlier_metrics(path, setting)["disk_gb_300"] == 1.5
    assert benchmark_memory.earlier_metrics(path, setting | {"threads": 1}) == setting | {"threads": 1}
    assert benchmark_memory.earlier_metrics(tmp_path / "nothing", setting) == setting


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "model_name_or_path needs a checkpoint"),
        (["x", "--memory_sizes", "10", "0"], r"memory_sizes must be numbers of at least 1, got \[10, 0\]"),
        (["x", "--rounds", "0"], "rounds must be at least 1, got 0"),
        (["x", "--num_links", "1"], "num_links must be at least 2, got 1"),
        (["nowhere", "--icon_collections", "maki"], "checkpoint 'nowhere'"),
        (["x", "--icon_collections", "many"], "collections must be some of .*; got .'many'"),
    ],
)
def test_a_mistake_is_named(monkeypatch, tmp_path, flags, message):
    monkeypatch.setattr(sys, "argv", ["benchmark_memory.py", *flags, "--output_dir", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match=message):
        benchmark_memory.main()
