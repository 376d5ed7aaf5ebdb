# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Runs of pretrain.py with strong views resume to the last bit, publish z alone, and report h and the mixture."""

import json
import math
from pathlib import Path

import pytest
import torch
from command_line import RECIPE_FOLDER, UserError, parse_arguments
from pretrain import PretrainArguments
from pretrain_objective import auxiliary_settings, check_auxiliary_flags
from safetensors.torch import load_file

from hf_cloob import CloobModel
from hf_cloob.training.run_log import read_log

# All that a checkpoint has to hold: heads, their scale and statistics, an EMA copy, dropout.
EVERYTHING = {
    "contrastive_loss": "infonce",
    "num_strong_views": 2,
    "strong_text_augmentation": "weak",
    "strong_pairs": True,
    "strong_head_sizes": [12, 12, 8],
    "strong_text_dropout": 0.2,
    "auxiliary_loss": "byolip",
    "auxiliary_head_sizes": [12, 8],
}
VIT = {"model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
VIT |= {"num_attention_heads": 2, "patch_size": 8}
STUDY = ("rocket", "slip", "barlip", "siamlip", "byolip", "swalip", "cloob_rocket")


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def training_log(folder: Path) -> list[dict]:
    return [record for record in read_log(folder / "train_log.jsonl") if "loss" in record]


def assert_same_run(one: Path, other: Path) -> None:
    """The same steps, the same best model and heads, the same last state, to the last bit."""
    logs = [read_log(folder / "train_log.jsonl") for folder in (one, other)]
    for log in logs:
        for record in log:
            record.pop("pairs_per_second", None)
    assert logs[0] == logs[1] and metrics(one) == metrics(other)
    for name in ("model.safetensors", "strong_heads.safetensors", "checkpoints/step-000006/model.safetensors"):
        first, second = load_file(one / name), load_file(other / name)
        assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first), name


def recipe(name: str) -> PretrainArguments:
    return parse_arguments(PretrainArguments, "", argv=[str(RECIPE_FOLDER / f"{name}.yaml")])


def changed(name: str, other: str) -> dict:
    own, base = vars(recipe(name)), vars(recipe(other))
    return {key: value for key, value in own.items() if value != base[key] and key != "output_dir"}


@pytest.fixture(scope="module")
def with_everything(command, flags, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("everything") / "out"
    result = command("pretrain.py", *flags(output_dir=folder, **EVERYTHING))
    assert result.returncode == 0, result.stderr
    return folder


def test_the_log_has_every_part_of_the_loss(with_everything):
    log = training_log(with_everything)
    parts = {"contrastive_loss", "strong_loss", "byolip_loss", "strong_inverse_temperature"}
    assert all(parts <= record.keys() for record in log)
    assert all(math.isfinite(value) for record in log for value in record.values())
    # Label smoothing and InfoNCE start near the logarithm of the batch.
    assert log[0]["strong_inverse_temperature"] == pytest.approx(10)
    for record in log:
        expected = (record["contrastive_loss"] + 2 * record["strong_loss"]) / 3 + record["byolip_loss"]
        assert record["loss"] == pytest.approx(expected, rel=1e-5)


def test_the_published_model_has_no_head_and_the_checkpoint_has_all(with_everything):
    published = load_file(with_everything / "model.safetensors")
    checkpoint = load_file(with_everything / "checkpoints" / "step-000006" / "model.safetensors")
    assert set(CloobModel.from_pretrained(with_everything).state_dict()) == set(published)
    assert {f"model.{name}" for name in published} < set(checkpoint)
    others = {name.split(".")[0] for name in checkpoint} - {"model"}
    heads = {f"{side}_{kind}" for side in ("image", "text") for kind in ("projector", "predictor")}
    assert others == heads | {
        "strong_image_head",
        "strong_text_head",
        "log_strong_inverse_temperature",
        "momentum_copy",
    }
    # The copy lags behind.
    name = "vision_model.embedder.embedder.convolution.weight"
    assert not torch.equal(checkpoint[f"momentum_copy.module.model.{name}"], checkpoint[f"model.{name}"])


def test_figures_of_h_and_of_the_mixture_stand_beside_those_of_z(with_everything):
    figures = metrics(with_everything)
    assert figures["mixture_weight"] in [index / 10 for index in range(11)]
    assert figures["mixture_selection_mean_recall@1"] >= figures["selection_mean_recall@1"] - 1e-9
    assert figures["mixture_selection_mean_recall@1"] >= figures["h_selection_mean_recall@1"] - 1e-9
    assert "h_selection_image_to_text_recall@10" in figures and "h_selection_num_images" not in figures
    names = {path.name for path in with_everything.iterdir()}
    assert "strong_heads.safetensors" in names


def test_a_run_with_heads_and_an_ema_copy_resumes_to_the_last_bit(with_everything, train, tmp_path):
    train(output_dir=tmp_path, **EVERYTHING, max_train_steps=6)
    assert_same_run(with_everything, tmp_path)
    train(output_dir=tmp_path, **EVERYTHING, resume_from_checkpoint=tmp_path / "checkpoints" / "step-000003")
    assert_same_run(with_everything, tmp_path)


@pytest.mark.slow
def test_micro_batches_train_as_the_whole_batch_does(train, tmp_path):
    changes = EVERYTHING | {"vision_config": VIT, "strong_text_dropout": None, "learning_rate": 0.001}
    train(output_dir=tmp_path / "whole", **changes)
    train(output_dir=tmp_path / "micro", micro_batch_size=4, **changes)
    whole, micro = (training_log(tmp_path / name) for name in ("whole", "micro"))
    for name in ("loss", "contrastive_loss", "strong_loss", "byolip_loss", "strong_inverse_temperature"):
        assert [record[name] for record in micro] == pytest.approx([record[name] for record in whole], rel=1e-4), name


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDY)
def test_each_recipes_losses_train_for_twenty_steps(name, train, tmp_path):
    own = vars(recipe(f"emoji_{name}"))
    names = ("contrastive_loss", "hopfield_scale", "tau_free_loss", "num_strong_views", "text_augmentation")
    names += ("strong_pairs", "auxiliary_loss", "strong_text_dropout", "mixed_precision", "channels_last")
    changes = {flag: own[flag] for flag in names} | {"strong_text_augmentation": "weak"}
    changes["strong_head_sizes"] = [12, 12, 8]
    if own["auxiliary_head_sizes"]:
        changes["auxiliary_head_sizes"] = [12, 8]
    train(output_dir=tmp_path, **changes, max_train_steps=20, eval_steps=20)
    log = training_log(tmp_path)
    part = "strong_loss" if own["strong_pairs"] else f"{own['auxiliary_loss']}_loss"
    assert len(log) == 20 and all(math.isfinite(record[part]) for record in log)
    assert ("mixture_weight" in metrics(tmp_path)) == (own["strong_pairs"] or name == "swalip")


def test_recipes_differ_from_plain_clip_in_their_loss_and_views_only():
    views = {"num_strong_views": 2}
    assert changed("emoji_barlip", "emoji_clip_small_text") == views | {
        "auxiliary_loss": "barlip",
        "auxiliary_head_sizes": [512, 512, 1024],
    }
    for name in ("siamlip", "byolip"):
        expected = views | {"auxiliary_loss": name, "auxiliary_head_sizes": [512, 128]}
        assert changed(f"emoji_{name}", "emoji_clip_small_text") == expected
    assert set(changed("emoji_cloob_rocket", "emoji_rocket")) == set(
        changed("emoji_cloob_small_text", "emoji_clip_small_text")
    )
    assert changed("emoji_siglip", "emoji_clip_small_text") == {"contrastive_loss": "sigmoid"}
    for name in STUDY:
        assert auxiliary_settings(recipe(f"emoji_{name}")) is not None


def test_the_cc3m_recipe_has_the_papers_constants():
    args = recipe("rocket_cc3m")
    settings = auxiliary_settings(args)
    assert settings.strong_head_sizes == (4096, 4096, 256) and settings.strong_label_smoothing == 0.1
    assert (settings.strong_text_dropout, settings.num_strong_views) == (0.2, 2)
    assert (args.learning_rate, args.weight_decay, args.min_learning_rate) == (3e-3, 0.5, 1e-5)
    assert (args.batch_size, args.adam_beta2, args.adam_epsilon) == (4096, 0.98, 1e-8)
    assert args.max_train_steps == 32 * args.warmup_steps
    assert json.loads(args.text_config)["num_hidden_layers"] == 6
    assert (args.crop_scale, args.strong_crop_scale) == ([0.5, 1.0], [0.08, 1.0])
    assert (args.color_jitter, args.color_jitter_probability) == ([0.4, 0.4, 0.4, 0.1], 0.8)
    assert (args.grayscale, args.blur, args.solarize, args.strong_horizontal_flip) == (0.2, 0.5, 0.0, 0.5)
    assert (args.text_augmentation, args.strong_text_augmentation, args.horizontal_flip) == ("weak", "strong", 0.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_strong_views": 2}, "num_strong_views=2 does nothing without strong_pairs or an auxiliary_loss"),
        ({"auxiliary_weight": 0.5}, "auxiliary_weight=0.5 does nothing without .* set it to none"),
        ({"strong_pairs": True}, "need strong views, got num_strong_views=0"),
        ({"auxiliary_loss": "barlow"}, "auxiliary_loss must be one of none, slip, .* got 'barlow'"),
        (
            {"strong_pairs": True, "num_strong_views": 2, "strong_text_dropout": 0.1, "freeze_text_model": True},
            "strong_text_dropout needs a text tower that trains",
        ),
        (
            {
                "strong_pairs": True,
                "num_strong_views": 2,
                "strong_text_dropout": 0.1,
                "activation_checkpointing": True,
            },
            "exclude each other, .* micro_batch_size saves memory",
        ),
    ],
)
def test_mistakes_are_named_before_anything_is_trained(changes, message):
    with pytest.raises(UserError, match=message):
        check_auxiliary_flags(PretrainArguments(**changes))
