# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Short real runs of train_reco.py: what they leave, what they learn, that no answer leaks, and that they resume."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import train_reco
import train_reco_data
from safetensors.torch import load_file
from tiny_reco import save_base, stir, tiny_base_processor, unit_rows
from torch.nn.functional import normalize
from train_reco_start import start_from_readout
from transformers import AutoModel, AutoProcessor, pipeline

from hf_cloob import RecoForZeroShot, RecoFusion, RecoMemory
from hf_cloob.data.pairs import normalize_caption
from hf_cloob.data.sources import load_pairs
from hf_cloob.retrieval.training_neighbors import find_training_neighbors
from hf_cloob.training.run_log import read_log

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
SHORT_RUN = {
    "num_neighbors": 3,
    "batch_size": 40,
    "max_train_steps": 6,
    "learning_rate": 0.01,
    "warmup_ratio": 0.2,
    "validation_share": 0.2,
    "eval_steps": 3,
    "save_steps": 3,
    "logging_steps": 1,
}
LABELS = ["red heart", "grinning face", "a black cat", "an umbrella with rain drops"]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return save_base("clip", tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def memory_dir(base, pairs, tmp_path_factory) -> Path:
    """The hundred pairs, and three that show the first picture again under other names."""
    model, processor = AutoModel.from_pretrained(base), AutoProcessor.from_pretrained(base)
    rows = [{"image": row["image"], "caption": row["captions"]} for row in load_pairs(str(pairs))]
    rows += [{"image": rows[0]["image"], "caption": f"the first once more, {number}"} for number in range(3)]
    folder = tmp_path_factory.mktemp("memory")
    RecoMemory.build(model, processor, rows, show_progress=False).save_pretrained(folder)
    return folder


@pytest.fixture
def train(base, memory_dir, fresh_accelerate, monkeypatch):
    """Run train_reco.py's main in this process with the flags of a short run and these changes."""

    def run(output_dir: Path, **changes) -> dict:
        named = {"output_dir": output_dir, "model_name_or_path": base, "memory_dir": memory_dir} | SHORT_RUN | changes
        line = [str(part) for name, value in named.items() if value is not None for part in (f"--{name}", value)]
        monkeypatch.setattr(sys, "argv", ["train_reco.py", *line])
        train_reco.main()
        return metrics(output_dir)

    return run


@pytest.fixture
def mistake(train, tmp_path):
    """The one line with which train_reco.py ends."""

    def run(output_dir: Path | None = None, **changes) -> str:
        with pytest.raises(SystemExit) as stop:
            train(output_dir or tmp_path / "out", **changes)
        assert stop.value.__suppress_context__ and "\n" not in str(stop.value)
        return str(stop.value).removeprefix("train_reco.py: ")

    return run


@pytest.fixture(scope="module")
def finished(command, base, memory_dir, tmp_path_factory) -> Path:
    """The output folder of a short run in a process of its own."""
    folder = tmp_path_factory.mktemp("finished") / "out"
    result = command("train_reco.py", *line_of(base, memory_dir, folder))
    assert result.returncode == 0, result.stderr
    return folder


def line_of(base: Path, memory_dir: Path, output_dir: Path, **changes) -> list[str]:
    named = {"output_dir": output_dir, "model_name_or_path": base, "memory_dir": memory_dir} | SHORT_RUN | changes
    return [str(part) for name, value in named.items() for part in (f"--{name}", value)]


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def training_log(folder: Path) -> list[dict]:
    return [record for record in read_log(folder / "train_log.jsonl") if "loss" in record]


def validation_log(folder: Path) -> list[dict]:
    return [record for record in read_log(folder / "train_log.jsonl") if "loss" not in record]


def without_speed(log: list[dict]) -> list[dict]:
    return [{name: value for name, value in record.items() if name != "pairs_per_second"} for record in log]


def same_tensors(one: Path, other: Path) -> bool:
    first, second = load_file(one), load_file(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def assert_same_run(one: Path, other: Path) -> None:
    """The same steps and the same last weights, to the last bit."""
    assert without_speed(training_log(other)) == without_speed(training_log(one))
    assert validation_log(other) == validation_log(one)
    assert metrics(other) == metrics(one)
    assert same_tensors(one / "model.safetensors", other / "model.safetensors")


# What a run leaves


def test_a_run_leaves_a_model_its_processor_memory_metrics_log_and_checkpoints(finished, memory_dir):
    names = {path.name for path in finished.iterdir()}
    assert {"config.json", "model.safetensors", "modeling_reco.py", "tokenizer.json"} <= names
    assert {"memory.safetensors", "memory_entries.parquet", "metrics.json", "timing.json", "arguments.json"} <= names
    assert same_tensors(memory_dir / "memory.safetensors", finished / "memory.safetensors")
    figures = metrics(finished)
    assert figures["train_pairs"] + figures["validation_pairs"] <= 103 == figures["memory_entries"]
    assert (figures["steps"], figures["pairs_seen"], figures["batch_size"]) == (6, 240, 40)
    assert (figures["num_neighbors"], figures["missing_neighbors"], figures["seed"]) == (3, 0, 0)
    # Each of four drawings of one picture has three near-duplicates.
    assert figures["near_duplicates_per_pair"] >= 4 * 3 / 103
    assert all(isinstance(value, int | float) for value in figures.values())


def test_the_log_has_every_step_the_schedule_and_the_figures_of_the_start(finished):
    log, validation = training_log(finished), validation_log(finished)
    assert [record["step"] for record in log] == [1, 2, 3, 4, 5, 6]
    assert [record["step"] for record in validation] == [0, 3, 6]
    cosine = [0.01 * (1 + math.cos(math.pi * step / 5)) / 2 for step in range(5)]
    assert [record["lr"] for record in log] == pytest.approx([0, *cosine])
    for record in log:
        terms = ("refined_loss", "refined_image_loss", "refined_text_loss")
        assert record["loss"] == pytest.approx(sum(record[name] for name in terms), rel=1e-5)
    last, figures = validation[-1], metrics(finished)
    assert {name: figures[name] for name in last if name != "step"} == {
        name: value for name, value in last.items() if name != "step"
    }


def test_without_a_fitted_readout_the_log_begins_with_the_bases_figures(train, tmp_path):
    figures = train(tmp_path, fit_readout=False, max_train_steps=1)
    names = ("mean_recall@1", "text_to_image_recall@1")
    first = {name: validation_log(tmp_path)[0][f"validation_{name}"] for name in names}
    assert first == {name: figures[f"validation_base_{name}"] for name in names}


def test_checkpoints_hold_the_fusion_layers_and_not_the_base(finished):
    checkpoints = sorted((finished / "checkpoints").iterdir())
    assert [path.name for path in checkpoints] == ["step-000003", "step-000006"]
    saved, model = load_file(checkpoints[-1] / "fusion.safetensors"), load_file(finished / "model.safetensors")
    assert saved.keys() == {name for name in model if not name.startswith("base.")}
    assert all(torch.equal(saved[name], model[name]) for name in saved)
    assert not (checkpoints[-1] / "model.safetensors").exists()


def test_the_base_stays_as_it_was_and_the_fusion_layers_do_not(finished, base):
    model, own = load_file(finished / "model.safetensors"), load_file(base / "model.safetensors")
    assert all(torch.equal(model[f"base.{name}"], weight) for name, weight in own.items())
    assert all(model[f"{side}_fusion.out_proj.weight"].any() for side in ("image", "text"))


def test_the_folder_works_through_the_stock_pipeline_with_its_memory(finished, base, pairs):
    image, query = load_pairs(str(pairs))[0]["image"], {"candidate_labels": LABELS, "hypothesis_template": "{}"}
    model, processor = AutoModel.from_pretrained(finished).eval(), AutoProcessor.from_pretrained(finished)
    assert isinstance(model, RecoForZeroShot) and len(model.memory) == 103
    inputs = processor(text=LABELS, images=image, return_tensors="pt", padding=True)
    with torch.no_grad():
        expected = model(**inputs).logits_per_image.softmax(dim=-1)[0]
    scores = [
        {result["label"]: result["score"] for result in classify(image, **query)}
        for classify in (pipeline("zero-shot-image-classification", model=str(at)) for at in (finished, base))
    ]
    assert [scores[0][label] for label in LABELS] == pytest.approx(expected.tolist(), abs=1e-5)
    assert [scores[1][label] for label in LABELS] != pytest.approx(expected.tolist(), abs=1e-2)


def test_the_memory_may_stay_where_it_is(train, finished, tmp_path):
    train(tmp_path, save_memory=False)
    assert not (tmp_path / "memory.safetensors").exists()
    assert same_tensors(tmp_path / "model.safetensors", finished / "model.safetensors")
    assert AutoModel.from_pretrained(tmp_path).memory is None


def test_the_same_flags_give_the_same_run_and_another_seed_another_one(train, finished, tmp_path):
    train(tmp_path / "same")
    assert_same_run(finished, tmp_path / "same")
    train(tmp_path / "other", seed=1)
    assert training_log(tmp_path / "other")[0]["loss"] != training_log(finished)[0]["loss"]


# What it learns from


def test_the_answer_is_never_among_a_pairs_neighbors(finished, memory_dir):
    found = load_file(finished / "neighbors" / "000000.safetensors")
    images = RecoMemory.from_pretrained(memory_dir).image_embeds.float()
    assert found["image_rows"].dtype == torch.int64 and found["image_scores"].shape == (103, 3)
    for rows in (found["image_rows"], found["text_rows"]):
        assert (rows >= 0).all() and not (rows == torch.arange(103)[:, None]).any()
        assert torch.einsum("nd,nkd->nk", images, images[rows]).max() < 0.95
        assert not torch.isin(rows[[0, 100, 101, 102]], torch.tensor([0, 100, 101, 102])).any()


def memory_of_things(things: int, entries: int, first_seed: int = 1) -> RecoMemory:
    """Images and texts of a thing lie anywhere, so the base can only guess; other entries of the thing tell."""
    sides = []
    for seed in (first_seed, first_seed + 1):
        centers = unit_rows(things, 16, seed).repeat_interleave(entries, dim=0)
        sides.append(normalize(centers + 0.4 * unit_rows(len(centers), 16, seed + 10), dim=1))
    captions = [f"thing {row // entries}, drawing {row % entries}" for row in range(things * entries)]
    return RecoMemory(*sides, captions=captions)


def test_training_learns_to_read_a_memory_that_knows_what_the_base_does_not(train, tmp_path):
    memory_of_things(100, 8).save_pretrained(tmp_path / "memory")
    changes = {
        "num_neighbors": 7,
        "batch_size": 400,
        "max_train_steps": 60,
        "learning_rate": 0.003,
        "fit_readout": False,
    }
    figures = train(tmp_path / "out", memory_dir=tmp_path / "memory", **changes)
    chance = 1 / figures["validation_pairs"]
    assert figures["validation_base_mean_recall@1"] < 4 * chance < 0.05
    assert figures["validation_mean_recall@1"] > 0.15
    assert figures["validation_refined_loss"] < 0.5 * validation_log(tmp_path / "out")[0]["validation_refined_loss"]


def test_a_new_fusion_starts_from_a_readout_that_knows_what_the_memory_knows(train, tmp_path):
    memory_of_things(100, 8).save_pretrained(tmp_path / "memory")
    changes = {"num_neighbors": 7, "memory_dir": tmp_path / "memory", "max_train_steps": 1, "learning_rate": 1e-9}
    figures = train(tmp_path / "out", readout_learning_rate=1e-9, **changes)
    assert figures["validation_mean_recall@1"] > 2 * figures["validation_base_mean_recall@1"] > 0
    again = train(tmp_path / "again", model_name_or_path=tmp_path / "out", readout_learning_rate=1e-9, **changes)
    assert again["validation_loss"] == pytest.approx(figures["validation_loss"], rel=1e-4), "a RECO checkpoint stays"


def test_pairs_that_are_held_out_do_not_decide_where_training_starts():
    memory = memory_of_things(60, 5)
    found = find_training_neighbors(memory, memory.image_embeds, memory.text_embeds, 4, memory.ids)
    captions = memory.captions_of(memory.ids)
    starts = []
    for change in (False, True):
        images = memory.image_embeds.clone()
        images[200:] = images[200:].flip(0) if change else images[200:]
        pairs = RecoMemory(images, memory.text_embeds, captions=captions)
        data = train_reco_data.RecoData(memory, pairs, found, captions, list(range(200)), list(range(200, 300)))
        model = SimpleNamespace(
            config=SimpleNamespace(num_neighbors=4),
            image_fusion=RecoFusion(16, 2, 8),
            text_fusion=RecoFusion(16, 2, 8),
        )
        start_from_readout(model, data, seed=0)
        fusions = (model.image_fusion, model.text_fusion)
        starts.append([number.item() for fusion in fusions for number in fusion.readout_parameters()])
    assert starts[0] == starts[1] and starts[0][0] > 0


def test_readouts_learn_at_a_rate_of_their_own(train, tmp_path):
    def numbers(folder: Path) -> torch.Tensor:
        weights = load_file(folder / "model.safetensors")
        return torch.cat([weights[name].flatten() for name in sorted(weights) if "fusion.readout" in name])

    train(tmp_path / "fixed", learning_rate=1e-9, readout_learning_rate=1e-9)
    train(tmp_path / "fast", learning_rate=1e-9, readout_learning_rate=0.1)
    assert (numbers(tmp_path / "fast") - numbers(tmp_path / "fixed")).abs().max() > 0.05
    moved = [
        load_file(tmp_path / name / "model.safetensors")["image_fusion.q_proj.weight"] for name in ("fixed", "fast")
    ]
    torch.testing.assert_close(*moved, rtol=0, atol=1e-6)


def test_pairs_of_a_folder_of_their_own_look_things_up_in_the_memory(train, base, memory_dir, pairs, tmp_path):
    model, processor = AutoModel.from_pretrained(base), AutoProcessor.from_pretrained(base)
    rows = [{"image": row["image"], "caption": row["captions"]} for row in load_pairs(str(pairs)).select(range(60))]
    RecoMemory.build(model, processor, rows, show_progress=False).save_pretrained(tmp_path / "pairs")
    figures = train(tmp_path / "out", train_pairs_dir=tmp_path / "pairs", batch_size=20)
    assert figures["train_pairs"] + figures["validation_pairs"] <= 60 < figures["memory_entries"] == 103
    found = load_file(tmp_path / "out" / "neighbors" / "000000.safetensors")
    # The memory's own entry of a pair is found out by its picture.
    assert not (found["image_rows"] == torch.arange(60)[:, None]).any()


def test_a_dataset_is_embedded_once_and_is_the_memory_where_none_is_given(train, pairs, tmp_path):
    figures = train(tmp_path, memory_dir=None, dataset_name=pairs)
    assert figures["memory_entries"] == 100
    assert same_tensors(tmp_path / "train_pairs" / "memory.safetensors", tmp_path / "memory.safetensors")
    written = (tmp_path / "train_pairs" / "memory.safetensors").stat().st_mtime_ns
    train(tmp_path, memory_dir=None, dataset_name=pairs, resume_from_checkpoint="last")
    assert (tmp_path / "train_pairs" / "memory.safetensors").stat().st_mtime_ns == written


def test_a_dataset_looks_things_up_in_the_memory_that_is_given(train, pairs, tmp_path):
    figures = train(tmp_path, dataset_name=pairs)
    assert figures["memory_entries"] == 103 > figures["train_pairs"] + figures["validation_pairs"]


def test_training_goes_on_from_a_reco_checkpoint(train, finished, base, tmp_path):
    still = {"learning_rate": 1e-9, "readout_learning_rate": 1e-9}
    figures = train(tmp_path / "out", model_name_or_path=finished, num_neighbors=None, **still)
    # Its own k, its own weights, and the memory that the flags name.
    assert figures["num_neighbors"] == 3
    assert figures["validation_loss"] == pytest.approx(metrics(finished)["validation_loss"], rel=1e-3)


def test_fewer_pairs_than_a_batch_make_a_smaller_batch(train, tmp_path, capsys):
    figures = train(tmp_path, batch_size=4096)
    assert figures["batch_size"] == figures["train_pairs"]
    assert f"batch_size 4096 is {figures['train_pairs']} here" in capsys.readouterr().out


@pytest.mark.slow
def test_processes_that_gather_embeddings_change_nothing(train, finished, tmp_path):
    train(tmp_path, num_workers=2)
    assert_same_run(finished, tmp_path)


def test_epochs_count_the_pairs_seen(train, tmp_path):
    figures = train(tmp_path, max_train_steps=None, num_epochs=2.5)
    assert figures["steps"] == round(2.5 * figures["train_pairs"] / 40)


# Held-out pairs and batches


def test_no_caption_is_trained_on_and_held_out():
    captions = [f"caption {number % 300}" + "." * (number % 2) for number in range(1000)]
    train_rows, validation_rows = train_reco_data.split_by_caption([*captions, None], 0.3)
    trained = {normalize_caption(captions[row]) for row in train_rows if row < 1000}
    held_out = [normalize_caption(captions[row]) for row in validation_rows]
    assert trained.isdisjoint(held_out) and len(trained) + len(held_out) == 300
    assert len(set(held_out)) == len(held_out) and 60 < len(held_out) < 120
    assert 1000 in train_rows


def test_what_is_held_out_depends_on_the_caption_alone_and_is_at_most_5000():
    captions = [f"caption {number}" for number in range(40_000)]
    _, rows = train_reco_data.split_by_caption(captions, 0.1)
    _, shifted = train_reco_data.split_by_caption(captions[10:], 0.1)
    assert 3500 < len(rows) < 4500 and {row - 10 for row in rows if row >= 10} == set(shifted)
    _, capped = train_reco_data.split_by_caption(captions, 0.5)
    assert 4500 < len(capped) <= 5000 and set(rows) <= set(capped)
    assert train_reco_data.split_by_caption(captions, 0.0) == (list(range(40_000)), [])


def toy_data(captions: list[str]) -> train_reco_data.RecoData:
    size = len(captions)
    memory = RecoMemory(unit_rows(size, 16, 1), unit_rows(size, 16, 2), captions=captions)
    rows = torch.arange(size)[:, None] + torch.arange(1, 5)
    rows = rows.masked_fill(rows >= size, -1)
    scores = torch.where(rows < 0, float("-inf"), torch.rand(rows.shape, generator=torch.Generator().manual_seed(5)))
    neighbors = SimpleNamespace(
        image_rows=rows, image_scores=scores, text_rows=rows.flip(1), text_scores=scores.flip(1)
    )
    return train_reco_data.RecoData(memory, memory, neighbors, captions, list(range(size)), [])


def loaded(data, processes: int = 1, first_step: int = 0, neighbor_dropout: float = 0.0, **flags) -> list[dict]:
    """The global batches, put together from those of all processes."""
    args = SimpleNamespace(seed=3, neighbor_dropout=neighbor_dropout, num_workers=0, **flags)
    loaders = [
        train_reco_data.build_loader(
            args,
            data,
            16,
            6,
            first_step,
            SimpleNamespace(process_index=index, num_processes=processes, device=torch.device("cpu")),
        )
        for index in range(processes)
    ]
    return [
        {name: torch.cat([part[name] for part in parts]) for name in parts[0]} for parts in zip(*loaders, strict=True)
    ]


def test_no_batch_has_two_equal_captions():
    data = toy_data([f"Caption {number % 25}" + "." * (number % 2) for number in range(100)])
    rows = {tuple(embeds.tolist()): row for row, embeds in enumerate(data.pairs.image_embeds)}
    for batch in loaded(data):
        drawn = [normalize_caption(data.captions[rows[tuple(embeds.tolist())]]) for embeds in batch["image_embeds"]]
        assert len(drawn) == 16 and max(Counter(drawn).values()) == 1


def test_neighbors_are_the_other_modalitys_values_and_zeros_where_there_is_none():
    data = toy_data([f"caption {number}" for number in range(40)])
    inputs = train_reco_data.batch_inputs(data, torch.tensor([3, 38]))
    values = data.memory.text_embeds
    expected = torch.stack([values[4:8], torch.cat([values[39:], torch.zeros(3, 16)])])
    assert torch.equal(inputs["image_neighbor_embeds"], expected)
    assert torch.equal(inputs["text_neighbor_embeds"][0], data.memory.image_embeds[[7, 6, 5, 4]])
    assert torch.equal(inputs["text_embeds"], data.pairs.text_embeds[[3, 38]])
    for side in ("image", "text"):
        scores = getattr(data.neighbors, f"{side}_scores")[[3, 38]]
        assert torch.equal(inputs[f"{side}_neighbor_scores"], scores)


@pytest.mark.parametrize(("processes", "first_step"), [(2, 0), (3, 0), (1, 4)])
def test_batches_and_dropped_neighbors_depend_neither_on_processes_nor_on_resuming(processes, first_step):
    data = toy_data([f"caption {number}" for number in range(50)])
    expected = loaded(data, neighbor_dropout=0.4)[first_step:]
    found = loaded(data, processes, first_step, neighbor_dropout=0.4)
    assert len(found) == len(expected) == 6 - first_step
    for one, other in zip(expected, found, strict=True):
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_neighbors_drop_out_with_their_probability_and_others_in_each_epoch():
    data = toy_data([f"caption {number}" for number in range(500)])
    pairs = train_reco_data.TrainingPairs(data, seed=0, neighbor_dropout=0.25)
    present = [
        torch.stack([batch[f"{side}_neighbor_embeds"].any(dim=-1) for side in ("image", "text")])
        for batch in (pairs.__getitems__([(epoch, index) for index in range(490)]) for epoch in (0, 1))
    ]
    assert all(0.72 < part.float().mean() < 0.78 for part in present)
    assert not torch.equal(present[0], present[1]) and not torch.equal(present[0][0], present[0][1].flip(1))


def test_a_run_with_dropped_neighbors_is_another_one(train, finished, tmp_path):
    train(tmp_path, neighbor_dropout=0.5)
    assert training_log(tmp_path)[2]["loss"] != training_log(finished)[2]["loss"]


# Kept neighbors


def test_neighbors_are_searched_once_and_runs_may_share_them(train, tmp_path):
    kept = tmp_path / "neighbors"
    train(tmp_path / "one", neighbors_dir=kept)
    before = {path.name: path.stat().st_mtime_ns for path in kept.iterdir()}
    train(tmp_path / "two", neighbors_dir=kept, learning_rate=0.001)
    assert {path.name: path.stat().st_mtime_ns for path in kept.iterdir()} == before
    assert not (tmp_path / "one" / "neighbors").exists()


def test_neighbors_in_another_memory_are_refused_unless_the_run_is_overwritten(train, mistake, memory_dir, tmp_path):
    train(tmp_path / "out")
    memory = RecoMemory.from_pretrained(memory_dir)
    memory.remove([5])
    memory.save_pretrained(tmp_path / "edited")
    changes = {"memory_dir": tmp_path / "edited", "neighbors_dir": tmp_path / "out" / "neighbors"}
    assert "neighbors holds other neighbors: memory was" in mistake(tmp_path / "other", **changes)
    stale = tmp_path / "out"
    shutil.rmtree(stale / "checkpoints")
    (stale / "config.json").unlink()
    assert "holds other neighbors: memory was" in mistake(stale, memory_dir=tmp_path / "edited")
    assert train(stale, memory_dir=tmp_path / "edited", overwrite_output_dir=True)["memory_entries"] == 102


# Mistakes


def test_mistakes_end_with_one_line(mistake, memory_dir):
    assert mistake(model_name_or_path=None).startswith("pass --model_name_or_path")
    assert mistake(memory_dir=None).startswith("pass --memory_dir, which build_memory.py makes")
    both = {"train_pairs_dir": memory_dir, "dataset_name": "emoji"}
    assert mistake(**both).startswith("train_pairs_dir and dataset_name exclude each other")
    assert mistake(near_duplicate_threshold=1).startswith(
        "near_duplicate_threshold must be above -1 and at most 0.999"
    )
    assert mistake(batch_size=1) == "batch_size must be at least 2, got 1"
    assert mistake(neighbor_dropout=1) == "neighbor_dropout must be from 0 to below 1, got 1.0"
    assert mistake(validation_share=0.001).startswith("validation_share 0.001 holds out 0 of the 103 pairs")
    assert mistake(memory_dir="nowhere").startswith("memory_dir: 'nowhere' holds no memory")
    assert mistake(model_name_or_path="nowhere/at/all").startswith("checkpoint 'nowhere/at/all':")
    assert mistake(lr_scheduler="step").startswith("lr_scheduler must be one of cosine,")
    assert mistake(report_to="nothing").startswith("report_to must be an installed tracker")


def test_a_memory_or_pairs_of_another_encoder_are_named(mistake, memory_dir, base, tmp_path):
    other = save_base("clip", tmp_path / "other", seed=5)
    assert mistake(model_name_or_path=other).startswith(f"memory_dir {memory_dir}: This memory was made by another")
    RecoMemory(unit_rows(9, 16, 1), unit_rows(9, 16, 2), fingerprint="0" * 32).save_pretrained(tmp_path / "pairs")
    message = mistake(train_pairs_dir=tmp_path / "pairs")
    assert message.startswith(f"train_pairs_dir {tmp_path / 'pairs'}: This memory was made by another encoder")
    wide = RecoMemory(unit_rows(9, 24, 1), unit_rows(9, 24, 2))
    wide.save_pretrained(tmp_path / "wide")
    assert "embeddings have 24 dimensions, those of this model 16" in mistake(memory_dir=tmp_path / "wide")


def test_flags_that_contradict_a_reco_checkpoint_are_named(mistake, base, tmp_path):
    model = stir(RecoForZeroShot.from_base(base, fusion_hidden_dim=24))
    model.save_pretrained(tmp_path / "reco")
    tiny_base_processor("clip").save_pretrained(tmp_path / "reco")
    message = mistake(model_name_or_path=tmp_path / "reco", fusion_hidden_dim=32)
    assert message == f"fusion_hidden_dim=32 contradicts {tmp_path / 'reco'}, whose is 24"


def test_pairs_of_one_caption_alone_cannot_be_trained_on(mistake, tmp_path):
    memory = RecoMemory(unit_rows(9, 16, 1), unit_rows(9, 16, 2), captions=["the same"] * 9)
    memory.save_pretrained(tmp_path / "memory")
    message = mistake(memory_dir=tmp_path / "memory", validation_share=0)
    assert message == "a batch needs 2 pairs of different captions, the 9 training pairs have 1"


def test_a_finished_run_is_not_overwritten_unasked_and_starts_afresh_when_asked(train, mistake, finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "out")
    assert "holds a model: pass another folder" in mistake(folder)
    train(folder, overwrite_output_dir=True)
    assert_same_run(finished, folder)


def test_embeddings_that_are_not_finite_end_the_run_with_one_line(mistake):
    message = mistake(learning_rate=1e30, warmup_ratio=0, max_grad_norm=1e30)
    assert message.startswith("step 2: image_embeds holds NaN or infinite values")


# Resuming


@pytest.mark.parametrize("changes", [{}, {"neighbor_dropout": 0.3, "batch_size": 15}], ids=["plain", "dropout"])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(train, tmp_path, changes):
    train(tmp_path / "whole", max_train_steps=8, **changes)
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    for name in ("model.safetensors", "metrics.json", "config.json"):
        (tmp_path / "resumed" / name).unlink()
    shutil.rmtree(tmp_path / "resumed" / "checkpoints" / "step-000006")
    train(tmp_path / "resumed", max_train_steps=8, resume_from_checkpoint="last", **changes)
    assert_same_run(tmp_path / "whole", tmp_path / "resumed")


def test_a_run_is_resumed_with_its_own_flags_and_fusion_layers(mistake, finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "out")
    message = mistake(folder, resume_from_checkpoint="last", learning_rate=0.5)
    assert "continues a run with its own flags: learning_rate was 0.01, now 0.5" in message
    (folder / "arguments.json").unlink()
    shutil.copy(folder / "neighbors" / "000000.safetensors", folder / "checkpoints/step-000006/fusion.safetensors")
    assert "is no checkpoint of this model" in mistake(folder, resume_from_checkpoint="last")


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_end(command, base, memory_dir, environment, tmp_path):
    changes = {"max_train_steps": 200, "save_steps": 5, "eval_steps": 20, "neighbor_dropout": 0.2}
    whole = command("train_reco.py", *line_of(base, memory_dir, tmp_path / "whole", **changes))
    assert whole.returncode == 0, whole.stderr
    killed = tmp_path / "killed"
    line = [sys.executable, train_reco.__file__, *line_of(base, memory_dir, killed, **changes)]
    process = subprocess.Popen(line, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not (killed / "checkpoints" / "step-000015").exists():
        assert process.poll() is None
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "metrics.json").exists()
    resumed = command("train_reco.py", *line_of(base, memory_dir, killed, resume_from_checkpoint="last", **changes))
    assert resumed.returncode == 0, resumed.stderr
    assert_same_run(tmp_path / "whole", killed)


# Several processes


@pytest.mark.slow
def test_two_processes_train_as_one_and_resume_together(command, train, base, memory_dir, tmp_path):
    # 41 pairs: batches of 20 and 21.
    changes = {"batch_size": 41, "neighbor_dropout": 0.2}
    train(tmp_path / "one", **changes)
    line = line_of(base, memory_dir, tmp_path / "two", **changes)
    result = command("train_reco.py", *line, launcher=TORCHRUN)
    assert result.returncode == 0, result.stderr
    assert "2 process(es), cpu" in result.stdout and metrics(tmp_path / "two")["num_processes"] == 2
    for name, tolerance in {"loss": 1e-5, "lr": 0, "refined_loss": 1e-5, "grad_norm": 1e-3}.items():
        one, two = ([record[name] for record in training_log(tmp_path / folder)] for folder in ("one", "two"))
        assert two == pytest.approx(one, abs=tolerance, rel=tolerance), name
    for folder in ("one", "two"):
        shutil.copytree(tmp_path / folder / "neighbors", tmp_path / "neighbors" / folder)
    found = [tmp_path / "neighbors" / folder / "000000.safetensors" for folder in ("one", "two")]
    assert same_tensors(*found)

    shutil.copytree(tmp_path / "two", tmp_path / "resumed")
    shutil.rmtree(tmp_path / "resumed" / "checkpoints" / "step-000006")
    line = line_of(base, memory_dir, tmp_path / "resumed", resume_from_checkpoint="last", **changes)
    result = command("train_reco.py", *line, launcher=TORCHRUN)
    assert result.returncode == 0, result.stderr
    assert_same_run(tmp_path / "two", tmp_path / "resumed")


@pytest.mark.parametrize("family", ["siglip", "cloob"])
def test_other_bases_train_too(family, train, pairs, tmp_path):
    folder = save_base(family, tmp_path)
    changes = {"model_name_or_path": folder, "memory_dir": None, "dataset_name": pairs}
    figures = train(tmp_path / "out", near_duplicate_threshold=0.999, mixed_precision="bf16", **changes)
    assert math.isfinite(figures["validation_loss"]) and figures["missing_neighbors"] == 0
    classify = pipeline("zero-shot-image-classification", model=str(tmp_path / "out"))
    assert len(classify(load_pairs(str(pairs))[0]["image"], candidate_labels=LABELS)) == len(LABELS)
