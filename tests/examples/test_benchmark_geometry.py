# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""benchmark_geometry.py with few pairs: its figures, and its check against loops notices a wrong figure."""

import json
import sys

import benchmark_geometry
import pytest


@pytest.fixture
def measured(monkeypatch, tmp_path):
    def run(**flags) -> dict:
        line = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
        monkeypatch.setattr(sys, "argv", ["benchmark_geometry.py", *line, "--output_dir", str(tmp_path)])
        monkeypatch.setattr(benchmark_geometry, "SLICE_PAIRS", 20)
        benchmark_geometry.main()
        return json.loads((tmp_path / "metrics.json").read_text())

    return run


def test_the_figures_equal_the_loops(measured):
    metrics = measured(num_pairs=60, num_calibration_pairs=40, projection_dim=16)
    assert metrics["slice_largest_difference"] < 1e-6
    assert (metrics["num_pairs"], metrics["num_calibration_pairs"], metrics["projection_dim"]) == (60, 40, 16)
    assert 0.1 < metrics["peak_resident_before_report_gib"] <= metrics["peak_resident_gib"]
    # The pairs have the gap that centering is to close.
    assert metrics["modality_gap"] > 0.4 > metrics["centered_modality_gap"]


def test_the_check_notices_a_wrong_figure(measured, monkeypatch):
    from hf_cloob.evaluation import geometry_metrics

    right = geometry_metrics.geometry_metrics
    monkeypatch.setattr(
        geometry_metrics, "geometry_metrics", lambda images, texts, **more: right(images, texts.flip(0), **more)
    )
    metrics = measured(num_pairs=40, num_calibration_pairs=20, projection_dim=16)
    assert metrics["slice_largest_difference"] > 0.01


def test_a_mistake_is_named(measured):
    with pytest.raises(SystemExit, match="num_pairs must be at least 20, got 3"):
        measured(num_pairs=3)
