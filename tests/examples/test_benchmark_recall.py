# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""benchmark_recall.py with a small gallery: its figures, its check against a brute-force loop, its memory."""

import json
import subprocess
import sys
from pathlib import Path

import benchmark_recall
import pytest


@pytest.fixture
def measured(monkeypatch, tmp_path):
    def run(**flags) -> dict:
        line = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
        monkeypatch.setattr(sys, "argv", ["benchmark_recall.py", *line, "--output_dir", str(tmp_path)])
        benchmark_recall.main()
        return json.loads((tmp_path / "metrics.json").read_text())

    return run


def test_the_recalls_of_a_small_gallery_equal_the_brute_force_loop(measured):
    # As many images as the slice has: the measured recalls are the checked ones.
    metrics = measured(num_images=200, captions_per_image=3, projection_dim=48)
    assert metrics["slice_largest_difference"] == 0
    assert 0.1 < metrics["peak_resident_before_recall_gib"] <= metrics["peak_resident_gib"]
    assert (metrics["num_images"], metrics["num_texts"]) == (200, 600)
    for way in ("image_to_text", "text_to_image"):
        found = [metrics[f"{way}_recall@{k}"] for k in (1, 5, 10)]
        assert found == [metrics[f"slice_brute_force_{way}_recall@{k}"] for k in (1, 5, 10)]
        # Neither all found nor none: a wrong count would show.
        assert 0.1 < found[0] < found[1] < found[2] < 0.99


def test_the_check_notices_a_wrong_recall(measured, monkeypatch):
    from hf_cloob.evaluation import retrieval_metrics

    right = retrieval_metrics.recall_at_k
    monkeypatch.setattr(
        retrieval_metrics, "recall_at_k", lambda images, *rest, **more: right(images.flip(0), *rest, **more)
    )
    assert measured(num_images=50, projection_dim=16)["slice_largest_difference"] > 0.1


def test_the_peak_is_what_the_process_has_held():
    # Linux starts a process with its parent's size as the peak, so more than that is held.
    code = (
        "import benchmark_recall\n"
        "before = benchmark_recall.peak_resident_gib()\n"
        "held = b'1' * int((before + 0.25) * 2**30)\n"
        "del held\n"
        "print(benchmark_recall.peak_resident_gib() - before)"
    )
    examples = Path(benchmark_recall.__file__).parent
    done = subprocess.run([sys.executable, "-c", code], cwd=examples, capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(0.25, abs=0.05)


def test_a_mistake_is_named(measured):
    with pytest.raises(SystemExit, match="num_images must be at least 2, got 1"):
        measured(num_images=1)
    with pytest.raises(SystemExit, match="captions_per_image must be at least 1, got 0"):
        measured(captions_per_image=0)
