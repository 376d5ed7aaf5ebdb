# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Short real runs of pretrain.py: what they leave; they repeat, resume, accumulate and join processes exactly."""

import io
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import datasets
import pretrain
import pytest
import torch
from command_line import RECIPE_FOLDER
from PIL import Image
from pretrain_data import build_data, build_loader, build_processor
from pretrain_model import build_tokenizer_and_model
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForZeroShotImageClassification, AutoProcessor, pipeline

from hf_cloob import CloobModel
from hf_cloob.training.run_log import read_log

TRANSFORMER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
# No batch statistics: what two processes compute must add up to what one computes.
CLIP_VISION = {"model_type": "clip_vision_model", **TRANSFORMER, "patch_size": 8}
DROPOUT_BERT = {"model_type": "bert", **TRANSFORMER, "hidden_dropout_prob": 0.3}
STANDSTILL = {"warmup_steps": 2, "max_train_steps": 3, "eval_steps": 3}


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def training_log(folder: Path) -> list[dict]:
    return [record for record in read_log(folder / "train_log.jsonl") if "loss" in record]


def selection_log(folder: Path) -> list[dict]:
    return [record for record in read_log(folder / "train_log.jsonl") if "loss" not in record]


def same_weights(one: Path, other: Path) -> bool:
    first, second = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def without_speed(log: list[dict]) -> list[dict]:
    return [{name: value for name, value in record.items() if name != "pairs_per_second"} for record in log]


def assert_same_run(one: Path, other: Path) -> None:
    """The same steps, the same best model, the same last state, to the last bit."""
    assert without_speed(training_log(other)) == without_speed(training_log(one))
    assert selection_log(other) == selection_log(one)
    assert metrics(other) == metrics(one)
    assert same_weights(one, other)
    last = max(path.name for path in (one / "checkpoints").iterdir())
    assert same_weights(one / "checkpoints" / last, other / "checkpoints" / last)


# What a run leaves


def test_a_run_leaves_a_model_its_processor_metrics_log_curves_and_checkpoints(finished):
    names = {path.name for path in finished.iterdir()}
    assert {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json"} <= names
    assert {"metrics.json", "train_log.jsonl", "training_curves.png", "arguments.json", "timing.json"} <= names
    assert sorted(path.name for path in (finished / "checkpoints").iterdir()) == ["step-000003", "step-000006"]
    with Image.open(finished / "training_curves.png") as curves:
        assert min(curves.size) > 300
    figures = metrics(finished)
    assert (figures["steps"], figures["seed"], figures["num_processes"]) == (6, 0, 1)
    assert (figures["pairs_seen"], figures["skipped_samples"], figures["selection_num_images"]) == (6 * 15, 0, 20)
    assert all(isinstance(value, int | float) for value in figures.values())


def test_the_log_has_every_step_and_the_schedule(finished):
    log = training_log(finished)
    assert [record["step"] for record in log] == [1, 2, 3, 4, 5, 6]
    assert all(math.isfinite(value) for record in log for value in record.values())
    cosine = [0.01 * (1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)]
    assert [record["lr"] for record in log] == pytest.approx([0, 0.005, *cosine])
    assert [record["inverse_temperature"] for record in log] == pytest.approx([30] * 6)
    assert [record["step"] for record in selection_log(finished)] == [3, 6]


def test_the_model_that_stays_is_the_best_by_the_selection_data(finished):
    selected = {record["step"]: record["selection_mean_recall@1"] for record in selection_log(finished)}
    best = metrics(finished)["best_step"]
    assert selected[best] == max(selected.values()) == metrics(finished)["selection_mean_recall@1"]
    for step in selected:
        assert same_weights(finished / "checkpoints" / f"step-{step:06d}", finished) == (step == best)


def test_only_a_better_selection_figure_replaces_the_saved_model(tmp_path, fresh_accelerate):
    from accelerate import Accelerator
    from tiny_models import tiny_cloob, tiny_processor

    from hf_cloob.training.checkpointing import TrainState
    from hf_cloob.training.run_log import RunLog

    state, model, processor = TrainState(), tiny_cloob(), tiny_processor()
    log = RunLog(Accelerator(cpu=True), tmp_path / "log.jsonl")
    saved = []
    for state.step, selected in enumerate([0.1, 0.3, 0.3, 0.2, 0.4], start=1):
        model.visual_projection.weight.data.fill_(state.step)
        figures = {"selection_top1": selected, "selection_top5": 1 - selected}
        pretrain.keep_if_best(model, processor, lambda *args, figures=figures, **_: figures, state, log, tmp_path)
        saved.append(load_file(tmp_path / "model.safetensors")["visual_projection.weight"][0, 0].item())
    assert saved == [1, 2, 2, 2, 5]
    assert (state.best_metric, state.best_step, model.training) == (0.4, 5, True)


def test_the_folder_loads_through_the_auto_classes_and_the_stock_pipeline(finished, pairs):
    image = Image.new("RGB", (50, 40), "red")
    model = AutoModel.from_pretrained(finished).eval()
    processor = AutoProcessor.from_pretrained(finished)
    assert isinstance(model, CloobModel)
    assert isinstance(AutoModelForZeroShotImageClassification.from_pretrained(finished), CloobModel)
    labels = ["red heart", "grinning face", "a very long name of a thing that is seldom drawn"]
    with torch.no_grad():
        texts = processor.tokenizer(labels, padding=True, return_tensors="pt")
        pictures = processor.image_processor([image], return_tensors="pt")
        expected = model(**texts, **pictures).logits_per_image.softmax(dim=-1)[0]
    classify = pipeline("zero-shot-image-classification", model=str(finished))
    scores = {result["label"]: result["score"] for result in classify(image, labels, hypothesis_template="{}")}
    assert [scores[label] for label in labels] == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_label_longer_than_the_context_is_named_by_the_pipeline(finished):
    classify = pipeline("zero-shot-image-classification", model=str(finished))
    with pytest.raises(
        ValueError, match=r"input_ids has \d+ tokens a text, the text tower takes at most 77: .* label"
    ):
        classify(Image.new("RGB", (32, 32)), ["a cat", "very " * 100 + "long label"])


def test_the_same_recipe_and_seed_give_the_same_run_in_another_process(finished, train, tmp_path):
    train(output_dir=tmp_path)
    assert_same_run(finished, tmp_path)


@pytest.mark.slow
def test_the_default_recipes_towers_repeat_to_the_last_digit(train, tmp_path):
    recipe = pretrain.parse_arguments(
        pretrain.PretrainArguments, "Test.", argv=[str(RECIPE_FOLDER / "emoji_cloob.yaml")]
    )
    names = ("vision_config", "text_config", "text_model_name_or_path", "text_pooling", "freeze_text_model")
    names += ("mixed_precision", "channels_last", "keep_decoded", "retrieval_warmup_steps", "rotation", "hue")
    for name in ("one", "two"):
        train(output_dir=tmp_path / name, **{flag: getattr(recipe, flag) for flag in names})
    assert_same_run(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_a_run_on_emoji_reports_every_split_and_selects_on_noto_half_a(train, tmp_path):
    train(output_dir=tmp_path, dataset_name="emoji")
    figures = metrics(tmp_path)
    assert (figures["test_seen_num_candidates"], figures["test_unseen_num_images"]) == (1586, 250)
    assert {"test_seen_top1", "test_unseen_among_unseen_top5", "selection_text_to_image_recall@10"} <= figures.keys()
    assert not any(name.startswith("test_") for record in selection_log(tmp_path) for name in record)


@pytest.mark.slow
def test_another_seed_gives_another_run(finished, train, tmp_path):
    train(output_dir=tmp_path, seed=1)
    assert training_log(tmp_path)[0]["loss"] != training_log(finished)[0]["loss"]


@pytest.mark.slow
def test_workers_do_not_change_the_run(finished, train, tmp_path):
    train(output_dir=tmp_path, num_workers=2)
    assert_same_run(finished, tmp_path)


# Data


def test_unreadable_pictures_and_empty_captions_are_left_out_and_counted(train, pairs, flags, tmp_path, caplog):
    rows = datasets.load_dataset("parquet", data_files=str(pairs / "train.parquet"), split="train").to_list()
    broken = range(1, 100, 5)
    for index in broken:
        rows[index]["image"] = {"bytes": b"not a picture", "path": None}
    for index in (2, 52):
        rows[index]["caption"] = ["", "  "]
    features = datasets.Features({"image": datasets.Image(), "caption": datasets.List(datasets.Value("string"))})
    columns = {name: [row[name] for row in rows] for name in ("image", "caption")}
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(tmp_path / "pairs")

    changes = {"dataset_name": tmp_path / "pairs", "output_dir": tmp_path / "out", "save_steps": 1}
    changes |= {"max_bad_fraction": 0.5}
    train(**changes, save_total_limit=9)
    assert "2 of 100 rows dropped: empty caption" in caplog.text
    held_out = metrics(tmp_path / "out")["selection_num_images"]
    assert f"{20 - held_out} of 20 held-out pairs dropped: unreadable image" in caplog.text
    skipped = [record["skipped_samples"] for record in training_log(tmp_path / "out")]
    assert skipped == sorted(skipped) and skipped[-1] == metrics(tmp_path / "out")["skipped_samples"] > 0
    # 75 of the 78 training pairs are drawn, then 15 of them again.
    in_training = len(broken) - (20 - held_out)
    assert 0 < held_out < 20 and in_training - 3 <= skipped[-1] <= 2 * in_training

    # The count survives a resume.
    train(**changes, save_total_limit=9, resume_from_checkpoint=tmp_path / "out" / "checkpoints" / "step-000004")
    assert [record["skipped_samples"] for record in training_log(tmp_path / "out")] == skipped


@pytest.mark.slow
def test_a_saved_dataset_and_its_parquet_file_give_the_same_run(finished, train, pairs, tmp_path):
    data = datasets.load_dataset("parquet", data_files=str(pairs / "train.parquet"), split="train")
    datasets.DatasetDict({"train": data}).save_to_disk(tmp_path / "pairs")
    train(dataset_name=tmp_path / "pairs", output_dir=tmp_path / "out")
    assert_same_run(finished, tmp_path / "out")


# Steps


def test_an_accumulated_step_has_the_mean_gradient_of_its_batches(train, flags, tmp_path, fresh_accelerate):
    train(output_dir=tmp_path, gradient_accumulation_steps=3, **STANDSTILL)
    log = training_log(tmp_path)
    assert [record["step"] for record in log] == [1, 2, 3]
    assert [record["lr"] for record in log] == pytest.approx([0, 0.005, 0.01])
    assert metrics(tmp_path)["pairs_seen"] == 3 * 3 * 15

    line = flags(output_dir=tmp_path, gradient_accumulation_steps=3, **STANDSTILL)
    args = pretrain.parse_arguments(pretrain.PretrainArguments, "Test.", argv=line)
    torch.manual_seed(0)
    train_data, _ = build_data(args)
    tokenizer, model = build_tokenizer_and_model(args, train_data)
    _, transform = build_processor(args, tokenizer)
    from accelerate import Accelerator

    loader = build_loader(args, train_data, tokenizer, transform, 77, 0, Accelerator(cpu=True))
    batches = [batch for _, batch in zip(range(3), loader, strict=False)]
    model.train()
    for batch in batches:
        inputs = {name: batch[name] for name in ("pixel_values", "input_ids", "attention_mask")}
        loss = model(**inputs, return_loss=True).loss
        (loss / 3).backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    assert log[0]["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)
    assert log[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"mixed_precision": "bf16", "channels_last": True},
        {"activation_checkpointing": True, "vision_config": CLIP_VISION},
        {"contrastive_loss": "sigmoid"},
        {"contrastive_loss": "infonce", "label_smoothing": 0.1, "hopfield_scale": "none"},
        {"contrastive_loss": "infonce", "hopfield_scale": 4, "alignment_weight": 0.1, "uniformity_weight": 0.1},
        {"hopfield_scale": "none", "projection_type": "mlp", "text_pooling": "mean", "text_config": DROPOUT_BERT},
        {"freeze_text_model": True, "freeze_vision_model": True, "keep_decoded": True},
        {"micro_batch_size": 4, "mixed_precision": "bf16", "activation_checkpointing": True, "channels_last": True},
    ],
    ids=lambda changes: " ".join(changes),
)
def test_every_objective_and_option_trains(train, tmp_path, changes):
    train(output_dir=tmp_path, max_train_steps=3, **changes)
    assert all(math.isfinite(record["loss"]) for record in training_log(tmp_path))
    config = CloobModel.from_pretrained(tmp_path).config
    assert config.contrastive_loss == changes.get("contrastive_loss", "infoloob")
    scale = {"infoloob": 8.0}.get(config.contrastive_loss)
    assert config.hopfield_scale == {"none": None}.get(value := changes.get("hopfield_scale", scale), value)


@pytest.mark.slow
def test_recomputed_activations_give_the_same_run(train, tmp_path):
    # Vectors that are recomputed under dropout must be dropped alike.
    changes = {"vision_config": CLIP_VISION | {"attention_dropout": 0.3}, "text_config": DROPOUT_BERT}
    train(output_dir=tmp_path / "plain", **changes)
    train(output_dir=tmp_path / "recomputed", activation_checkpointing=True, **changes)
    losses = [[record["loss"] for record in training_log(tmp_path / name)] for name in ("plain", "recomputed")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "tolerance"),
    [
        ({"activation_checkpointing": True, "tau_free_loss": True}, 1e-5),
        ({"freeze_text_model": True, "text_config": DROPOUT_BERT, "gradient_accumulation_steps": 2}, 1e-5),
        ({"contrastive_loss": "infonce", "uniformity_weight": 0.1, "projection_type": "mlp"}, 1e-5),
        ({"mixed_precision": "bf16", "activation_checkpointing": True}, 2e-3),
    ],
    ids=lambda changes: " ".join(changes) if isinstance(changes, dict) else None,
)
def test_micro_batches_train_as_the_whole_batch_does(train, tmp_path, changes, tolerance):
    changes |= {"vision_config": CLIP_VISION, "learning_rate": 0.001}
    train(output_dir=tmp_path / "whole", **changes)
    train(output_dir=tmp_path / "micro", micro_batch_size=4, **changes)
    whole, micro = (training_log(tmp_path / name) for name in ("whole", "micro"))
    names = {name for name in whole[0] if name.endswith(("loss", "cosine"))} | {"inverse_temperature", "lr"}
    assert len(names) >= 6
    for name in names:
        expected = [record[name] for record in whole]
        assert [record[name] for record in micro] == pytest.approx(expected, abs=tolerance), name


@pytest.mark.slow
def test_recomputed_activations_change_no_micro_batch_under_dropout(train, tmp_path):
    changes = {"vision_config": CLIP_VISION | {"attention_dropout": 0.3}, "text_config": DROPOUT_BERT}
    changes |= {"micro_batch_size": 4}
    train(output_dir=tmp_path / "plain", **changes)
    train(output_dir=tmp_path / "recomputed", activation_checkpointing=True, **changes)
    losses = [[record["loss"] for record in training_log(tmp_path / name)] for name in ("plain", "recomputed")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_retrieval_is_blended_in_over_its_warm_up(train, tmp_path):
    train(output_dir=tmp_path, retrieval_warmup_steps=4)
    assert [record["retrieval_weight"] for record in training_log(tmp_path)] == [0.25, 0.5, 0.75, 1, 1, 1]


def test_frozen_towers_stay_as_they_were(train, tmp_path):
    train(output_dir=tmp_path / "a", freeze_text_model=True, freeze_vision_model=True, save_steps=1)
    first, last = (
        load_file(tmp_path / "a" / "checkpoints" / f"step-{step:06d}" / "model.safetensors") for step in (5, 6)
    )
    changed = {name for name in first if not torch.equal(first[name], last[name])}
    # Batch statistics are in vision_model as well.
    assert changed == {"text_projection.weight", "visual_projection.weight"}


def test_a_frozen_text_tower_trains_the_same_with_and_without_its_cache(train, tmp_path, monkeypatch):
    from hf_cloob.training import frozen_towers

    changes = {"freeze_text_model": True, "text_config": DROPOUT_BERT, "vision_config": CLIP_VISION}
    train(output_dir=tmp_path / "cached", **changes)
    # One at a time, never kept: the plain way to run a frozen tower.
    keep_nothing = type(
        "KeepNothing",
        (frozen_towers.PooledTextCache,),
        {"__call__": lambda self, texts: torch.stack([self._encode([text])[text] for text in texts])},
    )
    monkeypatch.setattr(frozen_towers, "PooledTextCache", keep_nothing)
    train(output_dir=tmp_path / "plain", **changes)
    losses = [[record["loss"] for record in training_log(tmp_path / name)] for name in ("cached", "plain")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_tensorboard_gets_the_figures(train, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(output_dir=tmp_path, report_to="tensorboard")
    (event_file,) = [path for path in tmp_path.rglob("events.out.tfevents*") if path.parent.name == "hf_cloob"]
    events = EventAccumulator(str(event_file.parent)).Reload()
    losses = [event.value for event in events.Scalars("loss")]
    assert losses == pytest.approx([record["loss"] for record in training_log(tmp_path)])
    assert [event.step for event in events.Scalars("selection_mean_recall@1")] == [3, 6]


def test_a_machine_without_matplotlib_keeps_the_model_and_its_metrics(train, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    train(output_dir=tmp_path, max_train_steps=3)
    assert metrics(tmp_path)["steps"] == 3
    assert "No training_curves.png: drawing needs matplotlib: pip install 'hf_cloob[plots]'" in capsys.readouterr().out


def test_a_loss_that_is_not_finite_ends_the_run_with_one_line(mistake, tmp_path):
    message = mistake(output_dir=tmp_path, learning_rate=1e30, warmup_steps=0, max_grad_norm=1e30)
    assert message.startswith("step 2: image_embeds holds NaN or infinite values in 15 of 15 rows")


# Checkpoints to start from


@pytest.fixture
def clip_folder(tmp_path):
    """A CLIP checkpoint with its tokenizer, as one from the hub has it."""
    from tiny_models import tiny_clip, tiny_tokenizer
    from transformers import CLIPConfig, CLIPModel

    tokenizer = tiny_tokenizer()
    config = tiny_clip().config.to_dict()
    config["text_config"] |= {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    clip = CLIPModel(CLIPConfig(**config))
    clip.logit_scale.data.fill_(math.log(50))
    for part in (clip, tokenizer):
        part.save_pretrained(tmp_path / "clip")
    return tmp_path / "clip"


START = {"vision_config": None, "text_config": None, "projection_dim": None, "image_size": 16}


def test_training_starts_from_a_clip_checkpoint_and_keeps_its_scale(train, clip_folder, tmp_path):
    train(output_dir=tmp_path / "out", model_name_or_path=clip_folder, **START, **STANDSTILL)
    first = training_log(tmp_path / "out")[0]
    assert first["inverse_temperature"] == pytest.approx(50)
    config = CloobModel.from_pretrained(tmp_path / "out").config
    assert (config.contrastive_loss, config.hopfield_scale, config.projection_dim) == ("infoloob", 8.0, 16)
    train(output_dir=tmp_path / "30", model_name_or_path=clip_folder, inverse_temperature=30, **START, **STANDSTILL)
    assert training_log(tmp_path / "30")[0]["inverse_temperature"] == pytest.approx(30)


@pytest.mark.slow
def test_training_goes_on_from_a_cloob_checkpoint_under_the_objective_of_the_flags(finished, train, tmp_path):
    start = START | {"image_size": 32, "model_name_or_path": finished}
    train(output_dir=tmp_path / "a", contrastive_loss="infonce", hopfield_scale="auto", **start, **STANDSTILL)
    config = CloobModel.from_pretrained(tmp_path / "a").config
    assert (config.contrastive_loss, config.hopfield_scale, config.learn_logit_scale) == ("infonce", None, True)
    assert training_log(tmp_path / "a")[0]["inverse_temperature"] == pytest.approx(30)
    # The learning rate of the first step is 0: its embeddings are the checkpoint's.
    model, tower = (CloobModel.from_pretrained(folder) for folder in (finished, tmp_path / "a"))
    assert torch.equal(model.visual_projection.weight, tower.visual_projection.weight) is False
    train(output_dir=tmp_path / "b", inverse_temperature=20, **start, **STANDSTILL)
    assert training_log(tmp_path / "b")[0]["inverse_temperature"] == pytest.approx(20)


def test_flags_that_contradict_a_checkpoint_are_named(mistake, finished, tmp_path):
    start = START | {"model_name_or_path": finished, "output_dir": tmp_path / "out"}
    assert "projection_dim=32 contradicts" in mistake(**start | {"projection_dim": 32})
    assert "text_pooling='mean' contradicts" in mistake(**start, text_pooling="mean")


# Resuming


FROZEN_TEXT = {"text_config": DROPOUT_BERT, "freeze_text_model": True, "num_workers": 1}
BF16 = {"contrastive_loss": "infonce", "mixed_precision": "bf16", "channels_last": True}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"text_config": DROPOUT_BERT, "gradient_accumulation_steps": 2}, id="dropout and accumulation"),
        pytest.param(FROZEN_TEXT, id="frozen text", marks=pytest.mark.slow),
        pytest.param({"text_config": DROPOUT_BERT, "micro_batch_size": 4}, id="micro-batches", marks=pytest.mark.slow),
        pytest.param(BF16, id="learned scale and bf16", marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(train, tmp_path, changes):
    changes |= {"max_train_steps": 8, "save_steps": 2, "eval_steps": 2, "save_total_limit": 9}
    train(output_dir=tmp_path / "whole", **changes)
    # What a process leaves that dies after step 4, in the middle of writing its next checkpoint.
    train(output_dir=tmp_path / "stopped", **changes)
    stopped = tmp_path / "stopped"
    for step in (6, 8):
        shutil.rmtree(stopped / "checkpoints" / f"step-{step:06d}")
    (stopped / "checkpoints" / "unfinished-000006").mkdir()
    (stopped / "metrics.json").unlink()
    if metrics(tmp_path / "whole")["best_step"] > 4:
        (stopped / "model.safetensors").write_bytes(b"half a mod")
    train(output_dir=stopped, resume_from_checkpoint="last", **changes)
    assert_same_run(tmp_path / "whole", stopped)
    assert not (stopped / "checkpoints" / "unfinished-000006").exists()


@pytest.mark.slow
def test_a_finished_run_can_be_prolonged(train, tmp_path):
    changes = {"lr_scheduler": "constant", "save_steps": 2, "eval_steps": 2}
    train(output_dir=tmp_path / "whole", max_train_steps=8, **changes)
    train(output_dir=tmp_path / "parts", max_train_steps=4, **changes)
    train(output_dir=tmp_path / "parts", max_train_steps=8, resume_from_checkpoint="last", **changes)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
def test_resuming_a_finished_run_writes_its_results_again(train, tmp_path):
    train(output_dir=tmp_path)
    before = metrics(tmp_path)
    (tmp_path / "metrics.json").unlink()
    train(output_dir=tmp_path, resume_from_checkpoint="last")
    assert metrics(tmp_path) == before


@pytest.mark.slow
def test_a_run_resumed_into_another_folder_finds_its_best_model_there(train, finished, tmp_path):
    for name, step in (("middle", 3), ("end", 6)):
        train(output_dir=tmp_path / name, resume_from_checkpoint=finished / "checkpoints" / f"step-{step:06d}")
        assert metrics(tmp_path / name)["best_step"] == 6
        assert same_weights(tmp_path / name, finished / "checkpoints" / "step-000006")


@pytest.mark.slow
def test_overwriting_starts_afresh(train, finished, tmp_path):
    train(output_dir=tmp_path, seed=1, max_train_steps=9)
    train(output_dir=tmp_path, overwrite_output_dir=True)
    assert_same_run(finished, tmp_path)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-000003", "step-000006"]


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_end(command, flags, environment, tmp_path):
    changes = {"max_train_steps": 60, "save_steps": 5, "eval_steps": 10, "text_config": DROPOUT_BERT}
    assert command("pretrain.py", *flags(output_dir=tmp_path / "whole", **changes)).returncode == 0
    killed = tmp_path / "killed"
    line = [sys.executable, pretrain.__file__, *flags(output_dir=killed, **changes)]
    process = subprocess.Popen(line, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not (killed / "checkpoints" / "step-000015").exists():
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "metrics.json").exists()
    resumed = command("pretrain.py", *flags(output_dir=killed, resume_from_checkpoint="last", **changes))
    assert resumed.returncode == 0, resumed.stderr
    assert_same_run(tmp_path / "whole", killed)


# Several processes


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{}, {"freeze_text_model": True, "gradient_accumulation_steps": 2}, {"contrastive_loss": "infonce"}],
    ids=["from scratch", "frozen text", "learned scale"],
)
def test_two_processes_train_as_one(command, flags, train, tmp_path, changes):
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    # 15 pairs: batches of 7 and 8.
    changes |= {"vision_config": CLIP_VISION, "mixed_precision": "no"}
    train(output_dir=tmp_path / "one", **changes)
    result = command("pretrain.py", *flags(output_dir=tmp_path / "two", **changes), launcher=torchrun)
    assert result.returncode == 0, result.stderr
    assert "2 process(es), cpu, 80 pairs" in result.stdout
    assert metrics(tmp_path / "two")["num_processes"] == 2
    for name, tolerance in {"loss": 1e-5, "lr": 0, "inverse_temperature": 1e-5, "grad_norm": 1e-3}.items():
        one, two = ([record[name] for record in training_log(tmp_path / folder)] for folder in ("one", "two"))
        assert two == pytest.approx(one, abs=tolerance, rel=tolerance), name
    weights = [load_file(tmp_path / folder / "model.safetensors") for folder in ("one", "two")]
    # AdamW blows rounding up where a gradient is next to nothing, so in norm.
    difference = torch.cat([(weights[1][name] - weight).flatten() for name, weight in weights[0].items()]).norm()
    assert difference < 1e-3 * torch.cat([weight.flatten() for weight in weights[0].values()]).norm()


@pytest.mark.slow
def test_two_processes_count_and_resume_together(command, flags, train, pairs, tmp_path):
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    rows = datasets.load_dataset("parquet", data_files=str(pairs / "train.parquet"), split="train")
    file = io.BytesIO()
    Image.new("RGB", (32, 32)).save(file, "PNG")
    images = [{"bytes": file.getvalue()[: 40 if index % 9 == 1 else None], "path": None} for index in range(100)]
    features = datasets.Features({"image": datasets.Image(), "caption": rows.features["caption"]})
    broken = datasets.Dataset.from_dict({"image": images, "caption": rows["caption"][:]}, features=features)
    broken.save_to_disk(tmp_path / "pairs")
    changes = {"dataset_name": tmp_path / "pairs", "text_config": DROPOUT_BERT, "save_total_limit": 9}
    changes |= {"max_bad_fraction": 0.5}
    train(output_dir=tmp_path / "one", **changes)
    result = command("pretrain.py", *flags(output_dir=tmp_path / "two", **changes), launcher=torchrun)
    assert result.returncode == 0, result.stderr
    assert metrics(tmp_path / "two")["skipped_samples"] == metrics(tmp_path / "one")["skipped_samples"] > 0

    shutil.copytree(tmp_path / "two", tmp_path / "resumed")
    shutil.rmtree(tmp_path / "resumed" / "checkpoints" / "step-000006")
    line = flags(output_dir=tmp_path / "resumed", resume_from_checkpoint="last", **changes)
    result = command("pretrain.py", *line, launcher=torchrun)
    assert result.returncode == 0, result.stderr
    assert_same_run(tmp_path / "two", tmp_path / "resumed")


@pytest.mark.slow
def test_accelerates_single_process_is_visible(command, flags, tmp_path):
    # `--cpu --num_processes 2` starts one process, without a word.
    launch = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2")
    result = command("pretrain.py", *flags(output_dir=tmp_path), launcher=launch)
    assert result.returncode == 0, result.stderr
    assert "1 process(es), cpu" in result.stdout
    assert metrics(tmp_path)["num_processes"] == 1
