# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Short runs of pretrain.py from checkpoints: LoRA, rates, interpolation, and the figures of before and after."""

import inspect
import json
import math
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModel
from pretrain_finetune import SHARES, build_run_data, part_of, renamed
from safetensors.torch import load_file
from tiny_models import tiny_clip, tiny_tokenizer
from transformers import (
    AutoModel,
    AutoProcessor,
    CLIPConfig,
    CLIPModel,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
)

from hf_cloob import CloobModel
from hf_cloob.training.interpolation import ALPHAS
from hf_cloob.training.run_log import read_log

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
START = {"vision_config": None, "text_config": None, "projection_dim": None, "image_size": None}
AUTO = {"contrastive_loss": "auto", "hopfield_scale": "auto"}
# peft asks before it imports the class that an adapter's file names; older ones do not.
ALLOWED = {"import_allowlist": ["hf_cloob.modeling_cloob"]}
ALLOWED = ALLOWED if "import_allowlist" in inspect.signature(AutoPeftModel.from_pretrained).parameters else {}


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def first_step(folder: Path) -> dict:
    return read_log(folder / "train_log.jsonl")[0]


@pytest.fixture
def known(pairs, tmp_path) -> Path:
    """A folder with a folder for each of three classes: the known task of a user."""
    import datasets

    rows = datasets.load_dataset("parquet", data_files=str(pairs / "train.parquet"), split="train")
    for index in range(24):
        folder = tmp_path / "known" / ("face", "animal", "thing")[index % 3]
        folder.mkdir(parents=True, exist_ok=True)
        rows[index]["image"].save(folder / f"{index}.png")
    return tmp_path / "known"


@pytest.fixture
def clip_folder(tmp_path) -> Path:
    """A CLIP checkpoint with its tokenizer, without an image processor."""
    tokenizer = tiny_tokenizer()
    config = tiny_clip().config.to_dict()
    config["text_config"] |= {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    clip = CLIPModel(CLIPConfig(**config))
    clip.logit_scale.data.fill_(math.log(50))
    for part in (clip, tokenizer):
        part.save_pretrained(tmp_path / "clip")
    return tmp_path / "clip"


def test_a_run_from_a_checkpoint_measures_before_and_after_on_data_it_does_not_train_on(
    finished, train, known, tmp_path, capsys
):
    out = tmp_path / "out"
    start = START | AUTO | {"model_name_or_path": finished}
    train(output_dir=out, known_dataset_name=known, interpolate_with_start=True, max_known_loss=0.5, **start)
    figures = metrics(out)
    expected = {"test_mean_recall@1", "known_test_top1", "known_selection_top1", "selection_mean_recall@1"}
    for prefix in ("", "before_", "interpolated_"):
        assert {prefix + name for name in expected} <= figures.keys()
    # 20 pairs to select, 20 to test; half of the 24 known pictures for each.
    sizes = [figures[name] for name in ("selection_num_images", "test_num_images", "known_test_num_images")]
    assert sizes == [20, 20, 12]
    assert {f"alpha_{alpha:g}_selection" for alpha in ALPHAS} <= figures.keys()
    assert figures["alpha_0_known_selection"] == figures["before_known_selection_top1"]
    assert figures["alpha_1_selection"] == figures["selection_mean_recall@1"]
    table = (out / "before_after.md").read_text()
    assert table in capsys.readouterr().out
    assert f"| known_test_top1 | {100 * figures['before_known_test_top1']:.1f} |" in table
    assert (out / "interpolation.png").is_file()

    weights = [load_file(folder / "model.safetensors") for folder in (finished, out, out / "interpolated")]
    alpha = figures["interpolated_alpha"]
    for name, tensor in weights[2].items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, torch.lerp(weights[0][name], weights[1][name], alpha))
    assert isinstance(AutoModel.from_pretrained(out / "interpolated"), CloobModel)
    AutoProcessor.from_pretrained(out / "interpolated")
    # The checkpoint's own objective, picture size and statistics.
    assert CloobModel.from_pretrained(out).config.hopfield_scale == 8.0
    assert AutoProcessor.from_pretrained(out).image_processor.crop_size["height"] == 32


def test_without_a_known_task_the_table_says_so(finished, train, tmp_path, capsys):
    train(output_dir=tmp_path / "out", model_name_or_path=finished, **START, max_train_steps=3, eval_steps=3)
    assert "name a task of its own with --known_dataset_name" in capsys.readouterr().out
    assert "before_test_mean_recall@1" in metrics(tmp_path / "out")


def test_lora_leaves_the_merged_model_and_adapters_that_fit_the_start(clip_folder, train, known, tmp_path):
    out = tmp_path / "out"
    start = START | AUTO | {"model_name_or_path": clip_folder, "image_size": 16, "known_dataset_name": known}
    train(output_dir=out, lora_rank=2, learning_rate=0.05, **start)
    merged = CloobModel.from_pretrained(out)
    assert not any("lora" in name for name in load_file(out / "model.safetensors"))
    adapted = AutoPeftModel.from_pretrained(out / "adapter", **ALLOWED).merge_and_unload()
    start_weights = CloobModel.from_pretrained(out / "start").state_dict()
    for name, tensor in merged.state_dict().items():
        if name != "log_inverse_temperature":
            torch.testing.assert_close(adapted.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)
    query = "vision_model.encoder.layers.0.self_attn.q_proj.weight"
    change = merged.state_dict()[query] - start_weights[query]
    assert 1 <= torch.linalg.matrix_rank(change, rtol=1e-3) <= 2
    norm = "vision_model.pre_layrnorm.weight"
    assert torch.equal(merged.state_dict()[norm], start_weights[norm])
    assert (merged.config.contrastive_loss, first_step(out)["inverse_temperature"]) == ("infonce", pytest.approx(50))


@pytest.mark.slow
def test_a_resumed_lora_run_equals_an_uninterrupted_one(finished, train, tmp_path):
    start = START | AUTO | {"model_name_or_path": finished, "lora_rank": 2, "lr_scheduler": "constant"}
    train(output_dir=tmp_path / "whole", **start)
    train(output_dir=tmp_path / "parts", **start | {"max_train_steps": 3})
    train(output_dir=tmp_path / "parts", resume_from_checkpoint="last", **start)
    states = [load_file(tmp_path / name / "checkpoints/step-000006/model.safetensors") for name in ("whole", "parts")]
    assert any("lora_A" in name for name in states[0])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_siglip_is_fine_tuned_under_its_own_objective(train, tmp_path):
    tokenizer = tiny_tokenizer()
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**sizes, "vocab_size": len(tokenizer), "max_position_embeddings": 77, "projection_size": 32}
    text |= {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config={**sizes, "image_size": 24, "patch_size": 8}))
    model.logit_bias.data.fill_(-4.0)
    processor = SiglipImageProcessor(size={"height": 24, "width": 24})
    for part in (model, tokenizer, processor):
        part.save_pretrained(tmp_path / "siglip")
    train(output_dir=tmp_path / "out", model_name_or_path=tmp_path / "siglip", **START, **AUTO)
    config = CloobModel.from_pretrained(tmp_path / "out").config
    assert (config.contrastive_loss, config.hopfield_scale, config.logit_bias_init_value) == ("sigmoid", None, -4.0)
    # Its own picture size and statistics, without a flag.
    saved = AutoProcessor.from_pretrained(tmp_path / "out").image_processor
    assert (saved.size["height"], list(saved.image_mean)) == (24, [0.5, 0.5, 0.5])


def test_tower_rates_and_decay_reach_the_optimizer(finished, train, tmp_path):
    rates = {"text_learning_rate": 0.0, "vision_learning_rate": 0.001, "layer_decay": 0.5}
    train(output_dir=tmp_path / "out", model_name_or_path=finished, num_epochs=0.75, **rates, **START)
    before, after = (load_file(folder / "model.safetensors") for folder in (finished, tmp_path / "out"))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("vision_model.") for name in moved) and "text_projection.weight" in moved
    assert not any(name.startswith("text_model.") for name in moved)
    assert first_step(tmp_path / "out")["step"] == 1
    # 60 pairs in batches of 15: three quarters of an epoch are 3 steps.
    assert metrics(tmp_path / "out")["steps"] == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lora_rank": 2}, "lora_rank needs model_name_or_path"),
        ({"contrastive_loss": "auto"}, "contrastive_loss 'auto' is that of a checkpoint"),
        ({"interpolate_with_start": True}, "interpolate_with_start needs model_name_or_path"),
        ({"num_epochs": 0}, "num_epochs must be above 0, got 0"),
    ],
)
def test_mistakes_in_the_flags_of_fine_tuning_are_named(mistake, tmp_path, changes, words):
    assert words in mistake(output_dir=tmp_path / "out", **changes)


def test_interpolation_without_a_known_task_is_refused_before_training(mistake, finished, tmp_path):
    start = START | {"model_name_or_path": finished, "output_dir": tmp_path / "out"}
    assert "needs a known task" in mistake(**start, interpolate_with_start=True)
    assert "both are frozen" in mistake(**start, lora_rank=2, freeze_text_model=True, freeze_vision_model=True)
    assert "layer_decay must be above 0" in mistake(**start, layer_decay=0)


def test_one_emoji_family_is_split_by_concept_and_what_is_known_is_another_style():
    from types import SimpleNamespace

    from hf_cloob.data.emoji import load_emoji

    not_streamed = {"train_files": None, "train_dir": None, "streaming": False, "dataset_weights": None}
    emoji = {"dataset_name": "emoji", "emoji_families": ["fluent"], "known_dataset_name": None}
    args = SimpleNamespace(model_name_or_path="x", **emoji, **not_streamed)
    train_data, _ = build_run_data(args)
    fluent = load_emoji()["train"].filter(lambda family: family == "fluent", input_columns="family")
    assert set(train_data["family"]) == {"fluent"}
    assert {part_of(concept) for concept in train_data["concept"]} == {"train"}
    shares = {part: sum(part_of(concept) == part for concept in fluent["concept"]) / len(fluent) for part in SHARES}
    assert shares == pytest.approx(SHARES, abs=0.05)


def test_metrics_are_renamed_by_the_longest_split_that_fits():
    names = {"selection": "known_selection", "new_selection": "selection", "test": "a", "test_seen": "b"}
    measured = {"new_selection_top1": 1, "selection_top1": 2, "test_seen_recall@1": 3, "test_top1": 4}
    assert renamed(measured, names) == {
        "selection_top1": 1,
        "known_selection_top1": 2,
        "b_recall@1": 3,
        "a_top1": 4,
    }
