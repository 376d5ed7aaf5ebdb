# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""explaining_away.py: captions change in one name, models are compared picture by picture, and a real run ends."""

import json
from dataclasses import replace

import explaining_away_data
import pytest
import torch
from command_line import UserError
from explaining_away import ExplainingAwayArguments, explain, find_runs
from explaining_away_data import contained_table, load_questions, swap_name
from explaining_away_report import summarize
from scipy import stats

FIGURE = "probe_least_recall@5"


@pytest.fixture(scope="module")
def questions():
    return load_questions()


def test_one_name_is_exchanged_where_it_stands():
    assert swap_name("a, b c and d", "b c", "x") == "a, x and d"
    assert swap_name("a, b c and d", "d", "x") == "a, b c and x"
    assert swap_name("car and police car", "car", "x") == "x and police car"


def test_exchanged_captions_differ_in_the_asked_object_and_name_one_the_picture_lacks(questions):
    for role, place in (("most", 0), ("least", -1)):
        for row in range(0, len(questions.captions), 40):
            own = [questions.labels[number] for number in questions.contained[row].tolist() if number >= 0]
            texts = questions.captions[row], questions.swapped[role][row]
            before, after = (text.replace(" and ", ", ").split(", ") for text in texts)
            changed = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
            assert [old for old, _ in changed] == [own[place]] and changed[0][1] not in own


def test_concepts_are_numbered_and_short_rows_filled_up():
    assert contained_table([["b", "a"], ["a", "c", "b"]], {"a": 0, "b": 1, "c": 2}).tolist() == [[1, 0, -1], [0, 2, 1]]


def test_probes_learn_from_other_pictures_of_the_same_concepts(questions):
    sets = [{tuple(sorted(row)) for row in table.tolist()} for table in (questions.contained, questions.fit_contained)]
    assert sets[0].isdisjoint(sets[1])
    assert set(questions.contained.unique().tolist()) == set(questions.fit_contained.unique().tolist())


def values(seeds: int, gain: float = 0.0) -> dict[str, dict]:
    noise = [torch.rand(300, generator=torch.Generator().manual_seed(seed)).double() for seed in range(seeds)]
    return {f"seed-{seed}": {FIGURE: noise[seed] + gain * (1 + 0.1 * seed)} for seed in range(seeds)}


def test_differences_are_paired_by_picture_and_by_seed():
    metrics = summarize({"clip": values(3), "cloob": values(2, gain=0.05)}, "clip")
    name = f"cloob-clip/{FIGURE}"
    # What both have of a seed and a picture cancels to the last bit; only the gain's own spread over seeds is left.
    assert metrics[name] == pytest.approx(0.0525)
    assert metrics[f"{name}_high"] - metrics[f"{name}_low"] < 1e-9
    low, high = stats.ttest_1samp([0.05, 0.055], 0).confidence_interval(0.95)
    assert (metrics[f"{name}_seeds_low"], metrics[f"{name}_seeds_high"]) == pytest.approx((low, high))
    assert metrics["clip/num_seeds"] == 3 and metrics["cloob/num_seeds"] == 2


def test_one_seed_has_no_interval_over_seeds():
    metrics = summarize({"clip": values(1), "cloob": values(1, gain=0.05)}, "clip")
    assert f"cloob-clip/{FIGURE}_low" in metrics and f"cloob-clip/{FIGURE}_seeds_low" not in metrics


def test_a_baseline_that_is_not_there_is_named(tmp_path):
    folder = tmp_path / "cloob" / "seed-0"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text("{}")
    with pytest.raises(UserError, match="'clip' must be a setting of .* which holds no finished model"):
        find_runs(tmp_path, "clip")
    (folder / "model.safetensors").write_text("weights")
    with pytest.raises(UserError, match="which holds cloob"):
        find_runs(tmp_path, "clip")
    assert find_runs(tmp_path, "cloob") == {"cloob": {"seed-0": folder}}


def test_two_trained_models_are_measured_compared_and_drawn(train, questions, tmp_path, monkeypatch):
    # A frozen text tower, as the recipes have it, but a tiny one.
    common = {"dataset_name": "emoji_compositions", "validation_split": "selection", "freeze_text_model": True}
    for setting, loss in (("clip", "infonce"), ("cloob", "infoloob")):
        steps = {"max_train_steps": 1, "warmup_steps": 0, "eval_steps": 1}
        train(**common, **steps, contrastive_loss=loss, output_dir=tmp_path / setting / "seed-0")
    few = replace(
        questions,
        images=questions.images[:60],
        captions=questions.captions[:60],
        contained=questions.contained[:60],
        swapped={role: texts[:60] for role, texts in questions.swapped.items()},
        alone={role: pictures[:60] for role, pictures in questions.alone.items()},
        fit_images=questions.fit_images[:1500],
        fit_contained=questions.fit_contained[:1500],
    )
    monkeypatch.setattr(explaining_away_data, "load_questions", lambda: few)
    metrics = explain(ExplainingAwayArguments(sweep_dir=str(tmp_path), output_dir=str(tmp_path / "out")))
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == metrics
    for setting in ("clip", "cloob"):
        assert 0.2 < metrics[f"{setting}/probe_least_auc"] < 0.95
        both = [metrics[f"{setting}/retrieval_{role}_recall@5"] for role in ("least", "most")]
        assert metrics[f"{setting}/retrieval_least_minus_most_recall@5"] == pytest.approx(both[0] - both[1])
    assert "| cloob | least minus most |" in (tmp_path / "out" / "table.md").read_text()
    assert (tmp_path / "out" / "explaining_away.png").stat().st_size > 30_000
