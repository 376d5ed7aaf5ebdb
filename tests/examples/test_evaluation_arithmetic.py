# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Suite arithmetic of evaluate.py, on the emoji's own quadruples."""

import json
import sys

import pytest
import torch
from evaluation_arithmetic import arithmetic_task, load_arithmetic_data, shown_rows

from hf_cloob.data.emoji_arithmetic import load_quadruples
from hf_cloob.data.emoji_protocol import in_selection_half
from tests.tiny_reco import save_base


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_base("cloob", tmp_path_factory.mktemp("bases"))


@pytest.fixture
def evaluated(evaluate_script, fresh_accelerate, monkeypatch, tmp_path):
    def run(*arguments) -> dict:
        flags = ["--output_dir", tmp_path / "out", "--cache_dir", tmp_path / "cache", "--num_workers", 0]
        monkeypatch.setattr(sys, "argv", [str(part) for part in ["evaluate.py", *arguments, *flags]])
        evaluate_script.main()
        return json.loads((tmp_path / "out" / "metrics.json").read_text())

    return run


def test_figures_of_every_family_and_a_picture_are_written(evaluated, checkpoint, tmp_path, capsys):
    found = evaluated(checkpoint, "--suite", "arithmetic")
    assert found["noto_num_images"] == 1584
    assert found["noto_num_questions"] + found["noto_num_selection_questions"] == 3037
    assert found["noto_gender_num_questions"] > 100 and 0 <= found["noto_top1"] <= found["noto_top5"] <= 1
    assert {name.split("_")[0] for name in found} == {"noto", "twemoji", "openmoji", "fluent"}
    assert "fluent_gender_top1" not in found and "fluent_gain_top1_low" in found
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"metrics.json", "arguments.json", "arithmetic.png"}
    printed = capsys.readouterr().out
    assert "macro over kinds, %" in printed and "inscription" in printed


def test_it_has_its_own_data(evaluated, checkpoint, tmp_path):
    with pytest.raises(SystemExit, match="does not go with suite arithmetic, which has its own data"):
        evaluated(checkpoint, "--suite", "arithmetic", "--dataset_name", tmp_path)


def test_the_unseen_style_comes_first():
    assert list(load_arithmetic_data()) == ["noto", "twemoji", "openmoji", "fluent"]


def test_the_quadruples_become_rows_and_the_protocols_halves_part_the_sources():
    quadruples = load_quadruples()[::7]
    concepts = sorted({concept for item in quadruples for concept in (item.source, item.target)})
    words = sorted({text for item in quadruples for text in (item.source_words, item.target_words)})
    task = arithmetic_task(concepts, words, quadruples)
    for row, item in enumerate(quadruples):
        images = concepts[task.source_images[row]], concepts[task.target_images[row]]
        texts = words[task.source_texts[row]], words[task.target_texts[row]]
        assert (*images, *texts) == (item.source, item.target, item.source_words, item.target_words)
        assert bool(task.selection[row]) == in_selection_half(item.source)
        assert task.groups[row] == ("unseen" if item.unseen else "seen")


def test_the_picture_shows_reported_questions_of_many_kinds():
    quadruples = load_quadruples()
    concepts = sorted({concept for item in quadruples for concept in (item.source, item.target)})
    words = sorted({text for item in quadruples for text in (item.source_words, item.target_words)})
    task = arithmetic_task(concepts, words, quadruples)
    rows = shown_rows(task)
    assert len(rows) == 16 and not task.selection[torch.tensor(rows)].any()
    assert {task.kinds[row] for row in rows} == set(task.kinds)
