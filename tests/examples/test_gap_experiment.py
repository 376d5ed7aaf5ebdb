# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""gap_experiment.py in small: the gaps it starts from are those it promises, and its results tell what happened."""

import json
import sys

import gap_experiment
import gap_experiment_training
import pytest
import torch
from PIL import Image

SMALL = {
    "num_images": 60,
    "batch_size": 30,
    "hidden_dim": 16,
    "projection_dim": 8,
    "steps": 12,
    "processes": 1,
    "temperatures": ["0.01", "learned"],
    "objectives": ["clip", "cuaxu"],
    "seeds": [0, 1],
}


@pytest.fixture
def run(monkeypatch, tmp_path):
    def run(**changes) -> dict:
        line = []
        for name, value in (SMALL | changes).items():
            line += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
        monkeypatch.setattr(sys, "argv", ["gap_experiment.py", *line, "--output_dir", str(tmp_path)])
        gap_experiment.main()
        return json.loads((tmp_path / "metrics.json").read_text())

    return run


@pytest.fixture
def images() -> torch.Tensor:
    return gap_experiment_training.principal_coordinates(torch.rand(40, 60))


def test_every_start_has_the_gap_it_promises(run):
    metrics = run(offset_gap=1.2)
    for temperature in SMALL["temperatures"]:
        first = {start: metrics[f"{start}/{temperature}/clip/gap_first"] for start in gap_experiment.STARTS}
        assert first["equal"] == 0
        assert first["zero_gap"] == pytest.approx(0, abs=1e-5)
        assert first["offset"] == pytest.approx(1.2, abs=1e-5)
        assert first["unequal"] > 0.5
    assert metrics["equal/0.01/clip/separability_first"] == 0.5
    assert metrics["offset/0.01/clip/separability_first"] == 1


def test_a_run_leaves_curves_figures_and_a_picture(run, tmp_path, capsys):
    metrics = run(starts=["unequal"])
    curves = json.loads((tmp_path / "gap_experiment.json").read_text())
    assert len(curves) == 2 * 2 * 2
    for curve in curves:
        assert curve["step"] == [0, 1, 2, 5, 10, 12]
        assert all(len(curve[figure]) == 6 for figure in gap_experiment.FIGURES)
    last = [c["gap"][-1] for c in curves if (c["temperature"], c["objective"]) == ("0.01", "clip")]
    cell = "unequal/0.01/clip/gap_last"
    assert metrics[cell] == pytest.approx(sum(last) / 2)
    assert metrics[f"{cell}_low"] < min(last) <= max(last) < metrics[f"{cell}_high"]
    assert metrics["unequal/learned/clip/current_temperature_last"] != pytest.approx(0.07, abs=1e-4)
    assert metrics["unequal/0.01/clip/current_temperature_last"] == pytest.approx(0.01)
    assert f"{metrics[cell]:.3f}" in capsys.readouterr().out
    with Image.open(tmp_path / "gap_experiment.png") as picture:
        assert min(picture.size) > 300


@pytest.mark.slow
def test_two_processes_give_the_curves_of_one(run, tmp_path):
    few = {"starts": ["zero_gap"], "temperatures": ["0.01"], "seeds": [3]}
    run(**few)
    alone = (tmp_path / "gap_experiment.json").read_text()
    run(**few, processes=2)
    assert (tmp_path / "gap_experiment.json").read_text() == alone


def test_training_lowers_the_loss_and_alignment_closes_a_gap(run):
    metrics = run(steps=80, starts=["offset"], temperatures=["0.07"], objectives=["clip", "cua"], learning_rate=5e-3)
    for objective in ("clip", "cua"):
        cell = f"offset/0.07/{objective}"
        assert metrics[f"{cell}/loss_last"] < 0.5 * metrics[f"{cell}/loss_first"]
        assert metrics[f"{cell}/accuracy_last"] > 0.8
    assert metrics["offset/0.07/cua/gap_last"] < 0.3


def test_a_center_is_moved_where_it_is_wanted(images):
    encoder = gap_experiment_training.build_encoders("equal", images, 16, 8, 0.0)[0]
    for length in (0.0, 0.5, 0.99):
        target = torch.nn.functional.normalize(torch.randn(8).double(), dim=0) * length
        gap_experiment_training.move_center(encoder, images, target)
        assert torch.allclose(gap_experiment_training.center(encoder, images), target, atol=1e-5)


def test_principal_coordinates_keep_the_angles_of_the_pictures(images):
    pixels = torch.rand(40, 60)
    coordinates = gap_experiment_training.principal_coordinates(pixels)
    assert torch.allclose(coordinates @ coordinates.T * pixels.square().sum() / 1600, pixels @ pixels.T, atol=1e-3)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"starts": ["equal", "far"]}, "starts must be some of equal, zero_gap, unequal, offset, got far"),
        ({"objectives": ["siglip"]}, "objectives must be some of .*, got siglip"),
        ({"temperatures": ["0"]}, "temperatures must be numbers from 0.001 to 10 or 'learned', got 0"),
        ({"temperatures": ["warm"]}, "temperatures must be .*, got warm"),
        ({"seeds": [1, 1]}, r"seeds must be different values, at least one, got \[1, 1\]"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"batch_size": 61}, "batch_size must be from 2 to num_images = 60, got 61"),
        ({"offset_gap": 2}, "offset_gap must be at least 0 and below 2, got 2"),
        ({"family": "noto"}, "family must be one of .*twemoji, got noto"),
        ({"num_images": 100_000}, "num_images must be at most [0-9]+, all of twemoji's, got 100000"),
    ],
)
def test_a_mistake_is_named(run, flags, message):
    with pytest.raises(SystemExit, match=f"gap_experiment.py: {message}"):
        run(**flags)
