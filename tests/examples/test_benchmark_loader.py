# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the loader measures both loops and leaves its figures."""

import json


def test_a_small_measurement_leaves_rates_of_both_loops_and_their_ratio(command, tmp_path):
    sizes = ("--num_images", 40, "--jpeg_size", 64, "--image_size", 16, "--batch_size", 4)
    counts = ("--num_workers", 0, "--rounds", 1, "--num_batches", 2)
    result = command("benchmark_loader.py", *sizes, *counts, "--output_dir", tmp_path)
    assert result.returncode == 0, result.stderr
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    for name in ("full", "reduced"):
        own, bare = (metrics[f"{loop}_{name}_pairs_per_cpu_second"] for loop in ("loader", "bare"))
        assert own > 0 and bare > 0
        assert metrics[f"loader_{name}_of_bare_per_cpu_second"] == own / bare
    assert "loader_full_0_workers_pairs_per_second" in result.stdout
