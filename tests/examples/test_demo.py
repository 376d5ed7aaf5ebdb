# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""demo.py classifies with a trained folder and draws the sheet; what it cannot use it names."""

import random
import re
import sys

import demo
import pytest
from PIL import Image

from hf_cloob.data.emoji import load_emoji


@pytest.fixture
def mistake(monkeypatch):
    def run(*argv) -> str:
        monkeypatch.setattr(sys, "argv", ["demo.py", *map(str, argv)])
        with pytest.raises(SystemExit) as stop:
            demo.main()
        assert "\n" not in str(stop.value)
        return str(stop.value)

    return run


@pytest.mark.slow
def test_pictures_are_classified_and_drawn(finished, command):
    result = command("demo.py", finished, "--num_seen", 2, "--num_unseen", 1, "--seed", 5)
    assert result.returncode == 0, result.stderr
    assert "3 pictures among 1586 names:" in result.stdout
    emoji = load_emoji()
    rng = random.Random(5)
    for split, number in (("test_seen", 2), ("test_unseen", 1)):
        for index in sorted(rng.sample(range(len(emoji[split])), number)):
            # The true name, then the model's with its probability.
            assert re.search(rf"{re.escape(emoji[split][index]['label'])} +\S.* \(\d+%\)\n", result.stdout)
    with Image.open(finished / "contact_sheet.png") as sheet:
        assert min(sheet.size) > 300


def test_a_folder_without_a_model_is_named(mistake, tmp_path):
    assert mistake(tmp_path / "nothing") == (
        f"demo.py: {tmp_path / 'nothing'} holds no model; "
        f"train one with examples/pretrain.py --output_dir {tmp_path / 'nothing'}"
    )


def test_more_pictures_than_there_are_are_refused(mistake, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert mistake(tmp_path, "--num_seen", 10**6) == "demo.py: num_seen must be from 0 to 674, got 1000000"
    assert mistake(tmp_path, "--num_unseen", -1) == "demo.py: num_unseen must be from 0 to 250, got -1"


def test_a_folder_of_another_model_is_named(mistake, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert mistake(tmp_path) == f"demo.py: {tmp_path} holds a 'bert' model, which does not compare images with texts"
