# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The curves of a run: a PNG of fixed size from a log as runs really leave it, and errors."""

import json
import logging
import math

import numpy as np
import pytest
from PIL import Image

from hf_cloob.evaluation.training_curves import smoothed, training_curves


def pixels(path, color) -> int:
    return int((np.asarray(Image.open(path).convert("RGB")) == color).all(axis=-1).sum())


def run_log(steps=300):
    for step in range(steps):
        yield {
            "step": step,
            "loss": math.exp(-step / 80),
            "contrastive_loss": 0.7 * math.exp(-step / 80),
            "lr": 1e-3 * (1 - step / steps),
            "image_mean_cosine": 0.4,
            "text_mean_cosine": 0.1,
        }
        if step % 50 == 0:
            yield {"step": step, "selection_top1": step / 1000, "selection_top5": step / 500}


def write_log(path, records, tail=""):
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + tail, encoding="utf-8")
    return path


def test_training_curves_are_a_png_of_fixed_size(tmp_path):
    path = training_curves(write_log(tmp_path / "train_log.jsonl", run_log()), tmp_path / "plots" / "curves.png")
    with Image.open(path) as page:
        assert page.format == "PNG" and page.size == (1210, 770)
    assert pixels(path, (37, 99, 168)) > 1000


def test_a_file_and_its_records_give_the_same_page(tmp_path):
    from_file = training_curves(write_log(tmp_path / "log.jsonl", run_log()), tmp_path / "a.png")
    from_records = training_curves(run_log(), tmp_path / "b.png")
    assert from_file.read_bytes() == from_records.read_bytes()


def test_a_log_of_one_step_and_one_key_is_drawn(tmp_path):
    assert training_curves([{"step": 0, "loss": 2.0}], tmp_path / "curves.png").stat().st_size > 1000


def test_the_later_record_of_a_step_holds_as_after_a_resume(tmp_path):
    stale = [{"step": step, "loss": 9.0} for step in range(100, 130)]
    interrupted = [*list(run_log())[:103], *stale, *run_log()]
    resumed = training_curves(interrupted, tmp_path / "a.png")
    assert resumed.read_bytes() == training_curves(run_log(), tmp_path / "b.png").read_bytes()


def test_half_a_line_of_a_killed_run_is_skipped_and_counted(tmp_path, caplog):
    log = write_log(tmp_path / "log.jsonl", run_log(), tail='{"step": 30')
    with caplog.at_level(logging.WARNING):
        cut = training_curves(log, tmp_path / "a.png")
    assert "skipped 1 lines that are no JSON object: [307]" in caplog.text
    assert cut.read_bytes() == training_curves(run_log(), tmp_path / "b.png").read_bytes()


def test_values_that_are_not_finite_leave_a_page_all_the_same(tmp_path):
    records = [*run_log(), {"step": 300, "loss": math.nan, "lr": math.inf, "note": "diverged"}]
    assert training_curves(records, tmp_path / "curves.png").exists()


@pytest.mark.parametrize("records", [[], [{"loss": 1.0}], [{"step": "first", "loss": 1.0}]])
def test_a_log_without_steps_is_an_error_that_names_the_file(tmp_path, records):
    log = write_log(tmp_path / "log.jsonl", records)
    with pytest.raises(ValueError, match="log.jsonl: no record has a number under 'step'"):
        training_curves(log, tmp_path / "curves.png")


def test_smoothing_keeps_straight_lines_and_short_series_as_they_are():
    line = [0.5 * step - 3 for step in range(400)]
    assert smoothed(line) == pytest.approx(line)
    assert smoothed([3.0, 1.0, 2.0]) == pytest.approx([3.0, 1.0, 2.0])
    noise = [(-1.0) ** step for step in range(400)]
    assert max(map(abs, smoothed(noise)[5:-5])) < 0.2
