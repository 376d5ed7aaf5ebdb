# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""benchmark_augmentation.py on a few pictures: every case is timed, the sheet is drawn, and mistakes are named."""

import json
import sys

import benchmark_augmentation
import numpy as np
import pytest
from PIL import Image

SMALL = [
    "--image_sizes",
    "32",
    "48",
    "--num_images",
    "4",
    "--num_captions",
    "50",
    "--seconds",
    "0.05",
    "--rounds",
    "2",
]


@pytest.fixture(autouse=True)
def synonyms(monkeypatch):
    """A few synonyms in place of WordNet, whose reader takes seconds to load; tests/data/test_wordnet.py has it."""
    monkeypatch.setattr("hf_cloob.data.wordnet.synonym_table", lambda words, folder: {"face": ("countenance",)})


def run(monkeypatch, *line) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark_augmentation.py", *map(str, line)])
    benchmark_augmentation.main()


def test_every_case_is_timed_at_every_size(monkeypatch, tmp_path):
    run(monkeypatch, *SMALL, "--output_dir", tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    images = [f"images_{kind}_{size}px" for kind in ("weak", "strong", "strong_batched_cpu") for size in (32, 48)]
    captions = ["captions_weak", "captions_strong_without_synonyms", "captions_strong"]
    for name in images + captions:
        assert metrics[f"{name}_per_cpu_second"] > 0 and metrics[f"{name}_per_second"] > 0
    assert metrics["images_weak_48px_per_cpu_second"] > metrics["images_strong_48px_per_cpu_second"]
    assert 5 < metrics["words_per_caption"] < 15


def test_the_sheet_has_a_row_for_each_pair(monkeypatch, tmp_path, capsys):
    heights = []
    for number in (1, 3):
        run(monkeypatch, "--sheet", tmp_path / "sheet.png", "--num_pairs", number)
        with Image.open(tmp_path / "sheet.png") as sheet:
            heights.append(sheet.height)
            assert np.asarray(sheet.convert("L")).std() > 10
    assert heights[1] > 2 * heights[0] and "sheet.png" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--rounds", "0"], "rounds must be at least 1, got 0"),
        (["--image_sizes", "4"], r"image_sizes must be at least 8 pixels each, got \[4\]"),
        (["--seconds", "0"], "seconds must be above 0, got 0.0"),
        (["--sheet", "a.png", "--num_pairs", "13"], "a sheet has 1 to 12 pairs"),
    ],
)
def test_a_mistake_is_named(monkeypatch, line, message):
    with pytest.raises(SystemExit, match=f"benchmark_augmentation.py: .*{message}"):
        run(monkeypatch, *line)
