# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""benchmark_edits.py with a tiny base and few icons: every figure is written, and edits leave nothing behind."""

import dataclasses
import json
import sys

import benchmark_edits
import pytest
import torch
from benchmark_edits_data import load_data, load_model
from benchmark_edits_measures import add_embedded, all_at_once, one_shot, recognized
from explanations import predict
from tiny_reco import save_base, stir

from hf_cloob import RecoForZeroShot

SMALL = "--query_families twemoji --num_flags 3 --threads 1 --icon_collections maki streamline-emojis".split()


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    return str(save_base("cloob", tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def loaded(base):
    """Model with its memory, processor and data."""
    args = benchmark_edits.BenchmarkArguments(
        icon_collections=["maki", "streamline-emojis"], query_families=["twemoji"]
    )
    model, processor, _ = load_model(base, 5, (1.0, 20.0))
    data = load_data(args, model, processor)
    model.set_memory(data.memory)
    return model, processor, data


@pytest.fixture
def run(monkeypatch, tmp_path):
    def run(*arguments) -> dict:
        line = ["benchmark_edits.py", *arguments, *SMALL, "--output_dir", str(tmp_path / "out")]
        monkeypatch.setattr(sys, "argv", line)
        benchmark_edits.main()
        return json.loads((tmp_path / "out" / "metrics.json").read_text())

    return run


def test_every_figure_is_written(run, base, tmp_path, capsys):
    metrics = run(base, "--num_neighbors", "5", "--readout_weights", "1", "4", "--readout_scales", "50")
    assert metrics["num_labels"] == 259 and metrics["num_flags_twemoji"] == 3 and metrics["num_neighbors"] == 5
    assert metrics["num_emoji"] == 4515 and 300 < metrics["num_icons"] < 600
    assert 100 < metrics["num_candidates_twemoji"] < 150
    assert metrics["restored_twemoji"] == 3 and metrics["restored_at_once_twemoji"] is True
    assert metrics["readout_weight"] in (1, 4) and metrics["readout_scale"] == 50 and not metrics["is_trained"]
    for name in ("recognized", "mistaken", "recognized_at_once"):
        assert 0 <= metrics[f"{name}_twemoji"] <= 3
    for name in ("add_seconds", "remove_seconds"):
        assert 0 < metrics[name] <= metrics[f"{name}_max"] < 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"metrics.json", "edits.png"}
    printed = capsys.readouterr().out
    assert "one added" in printed and "readout: weight" in printed


def test_a_trained_checkpoint_keeps_its_fusion_layers(run, base, tmp_path, capsys):
    from checkpoints import load_processor

    stir(RecoForZeroShot.from_base(base, num_neighbors=4)).save_pretrained(tmp_path / "reco")
    load_processor(base).save_pretrained(tmp_path / "reco")
    metrics = run(str(tmp_path / "reco"))
    assert metrics["is_trained"] and metrics["num_neighbors"] == 4 and "readout_weight" not in metrics
    assert metrics["restored_twemoji"] == 3
    assert "trained fusion layers" in capsys.readouterr().out


def test_the_memory_holds_no_flag_and_its_ids_name_its_pictures(loaded):
    _, _, data = loaded
    captions = data.memory.captions_of(data.memory.ids)
    assert captions == [own[0] for own in data.distractors["captions"]]
    names = {row["name"].lower() for row in data.rows}
    assert not [caption for caption in captions if caption.startswith("flag:") or caption.lower() in names]


def test_candidates_are_unambiguous_flags_of_their_half_in_both_styles(loaded):
    _, _, data = loaded
    halves = {half: data.candidates("circle-flags", "flag", half) for half in ("selection", "test")}
    for half, pairs in halves.items():
        for row, added in pairs:
            own, other = data.rows[row], data.rows[added]
            assert own["code"] == other["code"] and own["half"] == half
            assert (own["family"], other["family"]) == ("circle-flags", "flag")
            assert not own["ambiguous"] and not other["ambiguous"]
    groups = [{data.rows[row]["same_flag_codes"][0] for row, _ in pairs} for pairs in halves.values()]
    assert groups[0].isdisjoint(groups[1])


def test_captions_name_the_flag_and_follow_the_seed(loaded):
    _, _, data = loaded
    rows = [added for _, added in data.candidates("twemoji", "flag", "test")]
    captions = [data.caption(row) for row in rows]
    assert len({caption.split()[0] for caption in captions}) == 3
    for row, caption in zip(rows, captions, strict=True):
        assert caption in data.rows[row]["captions"] and "ISO" not in caption and len(caption) > 2
    assert captions == [data.caption(row) for row in rows]
    assert captions != [dataclasses.replace(data, seed=1).caption(row) for row in rows]


def test_codes_of_one_flag_count_as_right(loaded):
    _, _, data = loaded
    row = data.drawings["twemoji", "us"]
    right = {data.labels[label] for label in range(len(data.labels)) if data.is_right(label, row)}
    assert right == {"flag: United States", "flag: U.S. Outlying Islands"}


def test_the_same_picture_under_its_label_is_recognized_and_leaves_no_trace(loaded, monkeypatch):
    model, processor, data = loaded
    # The nearest entry alone decides: to a tiny random base all pictures look nearly alike.
    benchmark_edits.set_readout(model, 1e3, 1e5)
    monkeypatch.setattr(model.config, "refine_text", False)
    captions = [[label] for label in data.flags["label"]]
    flags = data.flags.remove_columns("captions").add_column("captions", captions)
    own = dataclasses.replace(data, flags=flags)
    row, other = data.drawings["twemoji", "de"], data.drawings["twemoji", "jp"]
    queries = data.image_embeds[[row, other]], data.label_embeds
    before, size = predict(model, *queries).logits, len(data.memory)
    edit = one_shot(model, processor, own, (row, row), (other, other))
    assert edit.recognized and edit.restored and edit.add_seconds > edit.remove_seconds > 0
    assert len(data.memory) == size and torch.equal(before, predict(model, *queries).logits)
    assert not data.is_right(int(before[0].argmax()), row)


def test_all_at_once_is_what_the_memory_with_all_pictures_says(loaded):
    model, _, data = loaded
    benchmark_edits.set_readout(model, 4.0, 50.0)
    pairs = data.candidates("twemoji", "flag", "test")[:5]
    figures = all_at_once(model, data, pairs)
    ids = add_embedded(data, [added for _, added in pairs])
    assert data.memory.captions_of(ids) == [data.caption(added) for _, added in pairs]
    assert sum(recognized(model, data, pairs)) == figures["recognized_at_once"] and figures["restored_at_once"]
    data.memory.remove(ids)


def test_the_readout_that_recognizes_most_of_the_selection_half_is_chosen(loaded):
    model, _, data = loaded
    weights, scales = [0.0, 4.0], [5.0, 100.0]
    args = benchmark_edits.BenchmarkArguments(
        query_families=["twemoji"], readout_weights=weights, readout_scales=scales
    )
    chosen = benchmark_edits.choose_readout(args, model, data)
    pairs = data.candidates("twemoji", "flag", "selection")
    ids = add_embedded(data, sorted(added for _, added in pairs))
    shares = {}
    for weight in weights:
        for scale in scales:
            benchmark_edits.set_readout(model, weight, scale)
            shares[weight, scale] = sum(recognized(model, data, pairs)) / len(pairs)
    data.memory.remove(ids)
    assert chosen["selection_recognized_share"] == max(shares.values())
    assert shares[chosen["readout_weight"], chosen["readout_scale"]] == max(shares.values()) > min(shares.values())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("x --num_flags 1", "num_flags must be at least 2, got 1"),
        ("x --added_family twemoji", "query_families must be others than the added family 'twemoji'"),
        ("x --readout_scales 0", r"readout_scales must be finite numbers above 0, got \[0.0\]"),
        ("x --readout_weights nan", r"readout_weights must be finite numbers, got \[nan\]"),
        ("x --num_neighbors 0", "num_neighbors must be at least 1, got 0"),
        ("BASE --added_family noto", r"must be some of cif, .*, got \['noto'\]"),
        ("nowhere", "checkpoint 'nowhere'"),
    ],
)
def test_a_mistake_is_named(monkeypatch, base, tmp_path, flags, message):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    line = [base if flag == "BASE" else flag for flag in flags.split()]
    monkeypatch.setattr(sys, "argv", ["benchmark_edits.py", *line, "--output_dir", str(tmp_path)])
    with pytest.raises(SystemExit, match=message):
        benchmark_edits.main()
