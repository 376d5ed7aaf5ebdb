# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The pictures of a run: PNG files of the expected size that show what they are given, and errors."""

import json
import logging
import math

import numpy as np
import pytest
from PIL import Image

from hf_cloob.evaluation.plots import contact_sheet, training_curves
from hf_cloob.evaluation.training_curves import _smoothed

GREEN, GREY = (46, 139, 87), (205, 213, 222)


def sheet(path, count=4, true_name="cat", scores=(0.5, 0.2, 0.1, 0.05, 0.01), size=(64, 64), title="A page"):
    images = [Image.new("RGB", size, (200, 30, 30)) for _ in range(count)]
    names = ["cat", "dog", "rocket", "a name that is far too long for its narrow column of the page", "$5 and $6"]
    return contact_sheet(images, [true_name] * count, [names] * count, [list(scores)] * count, path, title)


def pixels(path, color) -> int:
    return int((np.asarray(Image.open(path).convert("RGB")) == color).all(axis=-1).sum())


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (3, 1), (4, 2), (30, 10)])
def test_a_contact_sheet_is_a_png_with_a_row_for_three_pictures(tmp_path, count, rows):
    path = sheet(tmp_path / "new" / "folder" / "sheet.png", count)
    with Image.open(path) as page:
        assert page.format == "PNG"
        # 13.94 inches of three cards; 1.3 of header and footer and 1.545 a row, at 110 dots an inch.
        assert page.size == pytest.approx((13.94 * 110, (1.3 + 1.545 * rows) * 110), abs=2)


def test_the_right_answer_and_it_alone_has_a_green_bar(tmp_path):
    right = sheet(tmp_path / "right.png", true_name="cat")
    second = sheet(tmp_path / "second.png", true_name="dog")
    none = sheet(tmp_path / "none.png", true_name="sun")
    assert pixels(right, GREEN) > 2 * pixels(second, GREEN) > 0
    assert pixels(none, GREEN) == 0 < pixels(none, GREY)


def test_pictures_keep_their_shape(tmp_path):
    square, wide = sheet(tmp_path / "a.png", 1), sheet(tmp_path / "b.png", 1, size=(64, 32))
    assert pixels(wide, (200, 30, 30)) == pytest.approx(pixels(square, (200, 30, 30)) / 2, rel=0.03)


def test_a_page_of_zero_scores_and_a_title_with_mathematics_signs_is_drawn(tmp_path):
    assert sheet(tmp_path / "sheet.png", scores=(0.0,) * 5, title=r"$a_{b} \alpha").stat().st_size > 1000


def test_drawing_twice_gives_the_same_bytes(tmp_path):
    assert sheet(tmp_path / "a.png").read_bytes() == sheet(tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 0}, "1 to 30 images; got 0"),
        ({"count": 31}, "1 to 30 images; got 31"),
        ({"scores": (0.5, 0.2)}, "image 0 has 5 predicted names and 2 scores"),
        ({"scores": (30.0, 0.2, 0.1, 0.1, 0.1)}, "image 0 has the score 30.0"),
        ({"scores": (0.5, math.nan, 0.1, 0.1, 0.1)}, "image 0 has the score nan"),
    ],
)
def test_a_sheet_that_cannot_be_drawn_is_explained(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        sheet(tmp_path / "sheet.png", **changes)


def test_lists_of_unequal_length_are_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"equally long; got \[1, 2, 1, 1\]"):
        contact_sheet([Image.new("RGB", (8, 8))], ["a", "b"], [["a"]], [[1.0]], tmp_path / "sheet.png", "A page")


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
    assert _smoothed(line) == pytest.approx(line)
    assert _smoothed([3.0, 1.0, 2.0]) == pytest.approx([3.0, 1.0, 2.0])
    noise = [(-1.0) ** step for step in range(400)]
    assert max(map(abs, _smoothed(noise)[5:-5])) < 0.2
