# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Suite geometry of evaluate.py: one checkpoint or several, on captioned data and on the emoji by default."""

import json
import sys
from types import SimpleNamespace

import pytest
from datasets import Dataset, Features, List, Value
from datasets import Image as ImageFeature
from evaluation_geometry import load_geometry_pairs, short_names
from PIL import Image

from hf_cloob.evaluation.geometry_report import geometry_report, split_off_calibration
from tests.tiny_reco import save_base


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    return save_base("clip", folder), save_base("cloob", folder)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """30 pictures, each with a caption or two, as a user's parquet file."""
    images = [Image.effect_noise((20, 20), 20 + 7 * number).convert("RGB") for number in range(30)]
    captions = [[f"a house with {number} windows", "a house"][: 1 + number % 2] for number in range(30)]
    features = Features(image=ImageFeature(), caption=List(Value("string")))
    folder = tmp_path_factory.mktemp("pairs")
    Dataset.from_dict({"image": images, "caption": captions}, features).to_parquet(folder / "test.parquet")
    return folder


@pytest.fixture
def evaluated(evaluate_script, fresh_accelerate, monkeypatch, tmp_path):
    def run(*arguments) -> dict:
        flags = ["--output_dir", tmp_path / "out", "--cache_dir", tmp_path / "cache", "--num_workers", 0]
        line = ["evaluate.py", *arguments, "--suite", "geometry", *flags]
        monkeypatch.setattr(sys, "argv", [str(part) for part in line])
        evaluate_script.main()
        return json.loads((tmp_path / "out" / "metrics.json").read_text())

    return run


def test_one_checkpoint_has_the_figures_of_the_report_under_their_own_names(
    evaluated, checkpoints, table, tmp_path, capsys
):
    found = evaluated(checkpoints[0], "--dataset_name", table)
    pairs = Dataset.from_parquet(str(table / "test.parquet"), cache_dir=str(tmp_path / "arrow"))
    report = geometry_report(checkpoints[0], pairs, show_progress=False)
    assert found == pytest.approx(report.metrics, abs=1e-6)
    assert "clip: 24 pairs, 95 % intervals" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"metrics.json", "arguments.json", "geometry.png", "geometry.html"}


def test_several_checkpoints_stand_side_by_side(evaluated, checkpoints, table, tmp_path):
    found = evaluated(*checkpoints, "--dataset_name", table)
    assert found["clip_num_pairs"] == found["cloob_num_pairs"] == 24
    assert found["clip_modality_gap"] != found["cloob_modality_gap"]
    page = (tmp_path / "out" / "geometry.html").read_text(encoding="utf-8")
    assert "<th colspan='2'>clip</th><th colspan='2'>cloob</th>" in page
    assert json.loads((tmp_path / "out" / "arguments.json").read_text())["checkpoint"] == list(map(str, checkpoints))


def test_without_a_dataset_the_emoji_of_a_withheld_style_are_measured_and_its_other_half_calibrates():
    measured, calibration = load_geometry_pairs(SimpleNamespace(dataset_name=None))
    assert set(measured["family"]) == set(calibration["family"]) == {"noto"}
    assert (len(measured), len(calibration)) == (674, 660)
    assert not set(measured["concept"]) & set(calibration["concept"])
    assert {"image", "captions"} <= set(measured.column_names)
    assert len(split_off_calibration(measured)[1]) == 134


def test_another_suite_takes_one_checkpoint(evaluate_script, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "a", "b", "--suite", "emoji"])
    with pytest.raises(SystemExit, match="suite emoji takes one checkpoint, got a, b"):
        evaluate_script.main()


def test_checkpoints_are_named_as_shortly_as_tells_them_apart():
    assert short_names(["runs/clip", "runs/cloob/"]) == ["clip", "cloob"]
    assert short_names(["a/run/last", "b/run/last"]) == ["a_run_last", "b_run_last"]
    assert short_names(["org/model"]) == ["model"]
    assert short_names(["same", "same"]) == ["same", "same"]
