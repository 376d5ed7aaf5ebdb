# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""benchmark_zero_shot.py with tiny towers: every case runs, and the scores of both pipelines agree."""

import json
import sys

import benchmark_zero_shot
import pytest

SMALL = ["--size", "tiny", "--rounds", "2", "--num_images", "6", "--num_stock_images", "2", "--batch_size", "4"]
FEW_LABELS = ["--num_labels", "40", "--num_many_labels", "20"]


def test_every_ratio_is_written_and_labels_are_cheaper_the_second_time(monkeypatch, tmp_path):
    line = [*SMALL, *FEW_LABELS, "--output_dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["benchmark_zero_shot.py", *line])
    benchmark_zero_shot.main()
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["largest_score_difference"] < 1e-5
    assert metrics["second_call_speedup"] == pytest.approx(
        metrics["stock_seconds_per_image"] / metrics["second_call_seconds_per_image"]
    )
    assert metrics["many_labels_over_image_encoder"] > 0 and metrics["first_call_speedup"] > 0
    assert metrics["second_call_speedup"] > 1


def test_a_mistake_is_named(monkeypatch):
    for flags, message in ((["--size", "huge"], "size must be base or tiny"), (["--num_labels", "0"], "from 1 to")):
        monkeypatch.setattr(sys, "argv", ["benchmark_zero_shot.py", *flags])
        with pytest.raises(SystemExit, match=message):
            benchmark_zero_shot.main()
