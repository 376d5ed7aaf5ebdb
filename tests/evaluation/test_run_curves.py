# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Curves of several runs: means over the seeds, pairs seen from the flags, and logs with gaps."""

import json

import numpy as np
import pytest
from PIL import Image

from hf_cloob.evaluation.run_curves import mean_curve, run_curves

BLUE, ORANGE = (37, 99, 168), (217, 119, 6)


def write_run(folder, gain=1.0, batch_size=256, keys=("loss", "selection_top1", "image_mean_cosine")):
    figures = {"loss": 2.0, "selection_top1": 0.004, "selection_mean_recall@1": 0.002, "image_mean_cosine": 0.5}
    folder.mkdir(parents=True)
    records = [
        {"step": step} | {key: gain * figures[key] * (step if "selection" in key else 1) for key in keys}
        for step in range(10, 110, 10)
    ]
    (folder / "train_log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    if batch_size:
        (folder / "arguments.json").write_text(
            json.dumps({"batch_size": batch_size, "gradient_accumulation_steps": 2})
        )
    return folder


def pixels(path, color, region=(0.0, 1.0, 0.0, 1.0)) -> int:
    page = np.asarray(Image.open(path).convert("RGB"))
    height, width = page.shape[:2]
    top, bottom, left, right = region
    part = page[int(top * height) : int(bottom * height), int(left * width) : int(right * width)]
    return int((part == color).all(axis=-1).sum())


def test_the_mean_of_runs_is_taken_where_all_of_them_have_logged():
    places, means = mean_curve([([1, 2, 3], [1.0, 2.0, 6.0]), ([1, 3, 4], [3.0, 0.0, 9.0])])
    assert (places, means) == ([1, 3], [2.0, 3.0])


def test_every_panel_shows_every_run(tmp_path):
    runs = {"clip": [write_run(tmp_path / "a")], "cloob": [write_run(tmp_path / "b", gain=0.5)]}
    path = run_curves(runs, tmp_path / "new" / "curves.png", title="Two runs")
    for top in (0.15, 0.55):
        for left in (0.0, 0.5):
            for color in (BLUE, ORANGE):
                assert pixels(path, color, (top, top + 0.4, left, left + 0.5)) > 100


def test_pairs_seen_come_from_the_flags_of_each_run(tmp_path):
    small, large = write_run(tmp_path / "a", batch_size=128), write_run(tmp_path / "b", batch_size=256)
    path = run_curves({"small": [small], "large": [large]}, tmp_path / "curves.png")
    # Equal curves over steps: the later one covers the first. Over pairs seen the smaller batch ends halfway.
    assert pixels(path, BLUE, (0.12, 0.5, 0.0, 0.5)) < 30 < pixels(path, BLUE, (0.12, 0.5, 0.5, 0.78))
    assert pixels(path, BLUE, (0.12, 0.5, 0.79, 1.0)) < 30 < pixels(path, ORANGE, (0.12, 0.5, 0.79, 1.0))


def test_runs_without_their_flags_leave_the_panel_of_pairs_seen_empty(tmp_path):
    path = run_curves({"clip": [write_run(tmp_path / "a", batch_size=None)]}, tmp_path / "curves.png")
    assert pixels(path, BLUE, (0.12, 0.5, 0.5, 1.0)) == 0 < pixels(path, BLUE, (0.12, 0.5, 0.0, 0.5))


def test_recall_is_drawn_where_there_is_no_zero_shot_accuracy(tmp_path):
    keys = ("loss", "selection_mean_recall@1")
    path = run_curves({"clip": [write_run(tmp_path / "a", keys=keys)]}, tmp_path / "curves.png")
    assert pixels(path, BLUE, (0.12, 0.5, 0.0, 0.5)) > 100
    assert pixels(path, BLUE, (0.55, 1.0, 0.5, 1.0)) == 0


def test_seeds_are_thin_lines_around_a_strong_mean(tmp_path):
    runs = [write_run(tmp_path / str(seed), gain=1 + 0.2 * seed) for seed in range(3)]
    together = run_curves({"clip": runs}, tmp_path / "all.png")
    alone = run_curves({"clip": runs[1:2]}, tmp_path / "one.png")
    ink = [int((np.asarray(Image.open(path).convert("L")) < 250).sum()) for path in (together, alone)]
    assert ink[0] > ink[1] + 500


@pytest.mark.parametrize("runs", [{}, {"clip": []}])
def test_no_run_is_an_error(tmp_path, runs):
    with pytest.raises(ValueError, match="at least one run folder"):
        run_curves(runs, tmp_path / "curves.png")


def test_a_log_without_steps_is_an_error_that_names_the_run(tmp_path):
    folder = write_run(tmp_path / "empty")
    (folder / "train_log.jsonl").write_text('{"loss": 1.0}\n')
    with pytest.raises(ValueError, match="empty: no record has a number under 'step'"):
        run_curves({"clip": [folder]}, tmp_path / "curves.png")
