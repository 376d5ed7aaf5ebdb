# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""reco_study.py on a tiny base: its tasks leak no answer, its files agree, and a killed study goes on."""

import json
import shutil
import sys
from dataclasses import replace

import pytest
import reco_study
import torch
from reco_study_effects import MEMORY_SIZES
from reco_study_embeds import emoji_wordings
from reco_study_fusion import SPARE, in_both_states
from reco_study_methods import CONTROLS, training_neighbors, view_of
from reco_study_report import readout_share
from reco_study_tasks import EMOJI, FLAG, ICON, build_task, part_of_memory, with_wrong_captions, without_entities
from tiny_reco import save_base
from train_reco_start import build_fusion_optimizer

from hf_cloob import RecoForZeroShot
from hf_cloob.data.emoji_protocol import in_selection_half

SMALL = {"seeds": [0, 1], "families": ["cif"], "icon_pool": 300, "distractors": 200, "train_distractors": 50}
SMALL |= {"steps": 2, "batch_size": 40, "fusion_family": "fluent"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A base, and the embeddings that all studies here share."""
    folder = tmp_path_factory.mktemp("study")
    save_base("clip", folder)
    return folder


def arguments(folder, **changes) -> list[str]:
    flags = {"model_name_or_path": folder / "clip", "embeds_dir": folder / "embeds", **SMALL, **changes}
    line = []
    for name, value in flags.items():
        line += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return line


def run(monkeypatch, folder, **changes) -> None:
    monkeypatch.setattr(sys, "argv", ["reco_study.py", *arguments(folder, **changes)])
    reco_study.main()


@pytest.fixture(scope="module")
def finished(folder):
    """The output folder of a small study."""
    with pytest.MonkeyPatch.context() as patch:
        run(patch, folder, output_dir=folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def embeds(finished, folder):
    from checkpoints import load_encoder
    from reco_study_embeds import embed_study

    encoder, processor = load_encoder(str(folder / "clip"))
    written = list((folder / "embeds").iterdir())
    found = embed_study(encoder, processor, folder / "embeds", SMALL["icon_pool"], 256)
    assert list((folder / "embeds").iterdir()) == written
    return found


def study_arguments(**changes):
    return replace(reco_study.RecoStudyArguments(**SMALL), **changes)


@pytest.fixture(scope="module", params=["cif", "noto"])
def task(embeds, request):
    return build_task(embeds, request.param, 0, study_arguments())


def test_a_study_writes_files_that_agree(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    study = json.loads((finished / "study.json").read_text())
    assert metrics["tasks"] == 4 and metrics["seeds"] == 2
    for method in (*CONTROLS, "fusion_k0", "reco_from_zero", "reco", "reco_random_neighbors", "best_control"):
        figures = study["summary"]["figures"]["flags/in_memory"][method]
        assert metrics[f"flags/in_memory/{method}_mean"] == figures["mean"]
        assert figures["low"] <= figures["mean"] <= figures["high"]
    cif = [task for task in study["tasks"] if task["settings"]["style"] == "cif"]
    best = [task["methods"][task["best_control"]]["in_memory"]["all"] for task in cif]
    reco = [task["methods"]["reco"]["in_memory"]["all"] for task in cif]
    expected = (sum(reco) - sum(best)) / 2
    assert metrics["flags/in_memory/reco_minus_best_control_mean"] == pytest.approx(expected)
    for task in cif:
        assert task["methods"]["reco"]["settings"]["side"] == "both"
        assert task["methods"]["reco"]["settings"]["k"] == task["methods"]["hopfield_both"]["settings"]["k"]
        chosen = max(CONTROLS, key=lambda name: task["methods"][name]["selection"])
        assert task["best_control"] == chosen
        whole = task["effects"]["memory_size"][str(task["memory_entries"])]
        assert whole["reco"] == task["effects"]["wrong_captions"]["0"]["reco"]
        assert whole["reco"] == task["methods"]["reco"]["in_memory"]["all"]
        assert whole["base"] == pytest.approx(task["effects"]["k"]["0"]["readout"])
        assert str(MEMORY_SIZES[0]) in task["costs"]
    table = (finished / "table.md").read_text()
    assert "reco_minus_best_control" in table and "Effect of wrong_captions" in table
    assert (finished / "study.png").read_bytes().startswith(b"\x89PNG")


def test_a_second_call_reads_what_is_done(finished, folder, monkeypatch):
    result = finished / "results" / "cif-seed0.json"
    metrics, written = (finished / "metrics.json").read_text(), result.stat().st_mtime_ns
    run(monkeypatch, folder, output_dir=finished)
    assert (finished / "metrics.json").read_text() == metrics
    assert result.stat().st_mtime_ns == written


def test_other_flags_do_a_task_again_and_one_seed_has_no_interval(finished, folder, monkeypatch):
    again = shutil.copytree(finished, folder / "again")
    run(monkeypatch, folder, output_dir=again, steps=1, seeds=[0], noto=False)
    assert json.loads((again / "results" / "cif-seed0.json").read_text())["settings"]["steps"] == 1
    metrics = json.loads((again / "metrics.json").read_text())
    assert metrics["tasks"] == 1
    assert "flags/in_memory/reco_mean" in metrics and "flags/in_memory/reco_low" not in metrics


def test_a_task_repeats_under_its_seed_and_changes_with_it(embeds, task):
    again = build_task(embeds, task.style, 0, study_arguments())
    other = build_task(embeds, task.style, 1, study_arguments())
    assert again.entries.captions == task.entries.captions
    assert torch.equal(again.memory.image_embeds, task.memory.image_embeds)
    assert other.entries.captions != task.entries.captions
    assert torch.equal(other.labels, task.labels)


def test_the_memory_holds_neither_the_querys_style_nor_the_fusions_family_nor_a_prompt(embeds, task):
    asked = [row for row, family in enumerate(embeds.flags.columns["family"]) if family == task.style]
    flags = sum(source == FLAG for source in task.entries.sources)
    assert flags == len(embeds.flags) - len(asked)
    fluent = embeds.emoji["train"].columns["family"].count("fluent")
    assert sum(source == EMOJI for source in task.entries.sources) == len(embeds.emoji["train"]) - fluent
    assert sum(source == ICON for source in task.entries.sources) == SMALL["distractors"]
    prompts = set(embeds.flags.columns["label"])
    assert prompts.isdisjoint(task.entries.captions)


def test_pairs_know_their_own_entries_and_show_nothing_that_is_reported(task):
    kept = (task.own_ids >= 0).nonzero().flatten()
    own = task.own_ids[kept]
    assert torch.equal(task.pairs.image_embeds[kept], task.memory.image_embeds[own])
    # Emoji of the family that is not in the memory have no entry of their own.
    assert 0 < len(kept) < len(task.pairs)
    reported = {entity for entity, chosen in zip(task.entities, task.selection.tolist(), strict=True) if not chosen}
    trained = {task.entries.entities[row] for row in own.tolist()}
    assert trained.isdisjoint(reported)
    if task.style == "noto":
        assert not any(in_selection_half(concept) for _, concept in reported)


def test_without_some_entities_nothing_else_is_missing(task):
    for queries in (task.selection, ~task.selection):
        asked = {entity for entity, chosen in zip(task.entities, queries.tolist(), strict=True) if chosen}
        removed = set(range(len(task.memory))) - set(without_entities(task, queries).ids.tolist())
        assert removed == {row for row, entity in enumerate(task.entries.entities) if entity in asked}
        assert removed


def test_every_pair_trains_with_what_it_shows_and_without(task):
    neighbors = training_neighbors(study_arguments(), task)
    assert neighbors.image_rows.shape[1] == 20 + SPARE
    both = in_both_states(task, neighbors, 10)
    for side in ("image", "text"):
        rows, scores = getattr(both, f"{side}_rows"), getattr(both, f"{side}_scores")
        whole, lacking = rows.chunk(2)
        assert torch.equal(whole, getattr(neighbors, f"{side}_rows")[:, :10])
        assert torch.equal(scores.chunk(2)[0], getattr(neighbors, f"{side}_scores")[:, :10])
        assert torch.equal(lacking < 0, torch.isinf(scores.chunk(2)[1]))
        own_in_whole = 0
        for pair, entity in enumerate(task.pair_entities):
            assert entity not in {task.entries.entities[row] for row in lacking[pair].tolist() if row >= 0}
            own_in_whole += entity in {task.entries.entities[row] for row in whole[pair].tolist()}
        # A base of random weights finds few of them.
        assert own_in_whole > 0


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_share_of_each_source_gets_a_caption_of_another_entity_of_that_source(task, share):
    wrong = with_wrong_captions(task, share)
    assert torch.equal(wrong.image_embeds, task.memory.image_embeds)
    captions = wrong.captions_of(wrong.ids)
    assert sorted(captions) == sorted(task.entries.captions)
    moved = (wrong.text_embeds != task.memory.text_embeds).any(dim=1)
    own = {}
    for caption, entity in zip(task.entries.captions, task.entries.entities, strict=True):
        own.setdefault(caption, set()).add(entity)
    for source in (FLAG, EMOJI):
        rows = [row for row, found in enumerate(task.entries.sources) if found == source]
        changed = [row for row in rows if moved[row]]
        assert len(changed) == round(share * len(rows))
        assert all(task.entries.entities[row] not in own[captions[row]] for row in changed)


def test_a_part_of_the_memory_keeps_ids_and_captions(task):
    part = part_of_memory(task, torch.tensor([5, 2]))
    assert part.ids.tolist() == [5, 2]
    assert part.captions_of(part.ids) == [task.entries.captions[5], task.entries.captions[2]]
    assert len(view_of(task, part).random.image_neighbors.ids[0]) == 2


def test_the_readouts_have_a_learning_rate_of_their_own_and_nothing_is_left_out(folder):
    model = RecoForZeroShot.from_base(folder / "clip")
    optimizer = build_fusion_optimizer(model, study_arguments(learning_rate=1e-4, readout_learning_rate=0.5))
    rates = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(rates)
    trained = {name: rates.pop(id(weight)) for name, weight in model.named_parameters() if weight.requires_grad}
    assert not rates
    for part, rate in (("weight", 0.5), ("log_scale", 0.5), ("null_score", 0.5), ("proj.weight", 0.05)):
        assert [trained.pop(f"{side}_fusion.readout_{part}") for side in ("image", "text")] == [rate, rate]
    assert set(trained.values()) == {1e-4}


def test_wordings_name_an_emoji_twice_where_it_has_two_names():
    assert emoji_wordings(["red heart", "love"]) == ["a drawing of red heart, love"]
    assert emoji_wordings(["fox"]) == ["a drawing of fox, fox"]


def test_the_readouts_share_is_of_the_gain_and_none_without_one():
    methods = {"base": {0: 0.1, 1: 0.1}, "hopfield_both": {0: 0.5, 1: 0.7}, "reco": {0: 0.6, 1: 0.8}}
    assert readout_share(methods) == pytest.approx(0.5 / 0.6)
    assert readout_share(methods | {"reco": {0: 0.1, 1: 0.1}}) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"families": ["noto"]},
            "families must be some of twemoji, openmoji, circle-flags, flag, flagpack, cif, got noto",
        ),
        ({"fusion_family": "noto"}, "fusion_family must be one of twemoji, openmoji, fluent, fxemoji, got 'noto'"),
        ({"seeds": [1, 1]}, "seeds must be different numbers, at least one, got [1, 1]"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
    ],
)
def test_a_mistake_is_one_clear_line(changes, message, folder, monkeypatch):
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, folder, output_dir=folder / "mistake", **changes)
    assert str(stop.value) == f"reco_study.py: {message}"
