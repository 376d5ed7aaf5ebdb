# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The papers' numbers as tables, checked against the recipes and defaults that a launch at their scale would use.

The mark of a table says where its numbers are from: CODE, the authors' released code; PAPER, the paper; RECALLED, from
memory of it, which its recipe must say.
"""

import math

import pytest
import torch
from command_line import RECIPE_FOLDER, parse_arguments
from pretrain import PretrainArguments
from pretrain_checks import check_arguments, tower_config
from pretrain_data import build_processor
from pretrain_model import objective_fields
from pretrain_setup import build_run_optimizer, steps_of_epochs
from tiny_models import tiny_tokenizer
from torch import nn
from train_reco import TrainRecoArguments

from hf_cloob import CloobConfig, CloobModel
from hf_cloob.training.optimization import build_schedule, parameter_groups

CODE, PAPER, RECALLED = "released code", "paper", "recalled"
CC3M_PAIRS, COCO_PAIRS = 2_900_000, 118_000

# Fürst et al. 2022, CLOOB on CC3M.
CLOOB_CC3M = {
    CODE: {
        "contrastive_loss": "infoloob",
        "tau_free_loss": False,
        "hopfield_scale": "8",
        "inverse_temperature": 30.0,
        "learn_logit_scale": False,
        "projection_dim": 1024,
        "projection_type": "linear",
        "image_size": 224,
        "crop_scale": [0.9, 1.0],
        "batch_size": 512,
        "learning_rate": 1e-3,
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "adam_epsilon": 1e-8,
        "weight_decay": 0.1,
        "warmup_steps": 20_000,
        "lr_scheduler": "cosine_with_restarts",
        "num_cycles": 10,
    },
    PAPER: {"num_epochs": 31.0},
}
# Nothing else is done to the pictures, and no regularizer added.
NO_MORE = {
    **dict.fromkeys(("horizontal_flip", "rotation", "translation", "zoom"), 0.0),
    **dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.0),
    **dict.fromkeys(("cross_modal_uniformity_weight", "label_smoothing"), 0.0),
}
# Fahim, Murphy, Fyshe 2024.
CONTRASTIVE_GAP = {
    CODE: {
        "contrastive_loss": "infonce",
        "hopfield_scale": "none",
        "inverse_temperature": 100.0,
        "learn_logit_scale": False,
        "alignment_weight": 1.0,
        "uniformity_weight": 1.0,
        "projection_dim": 128,
        "first_caption_share": 1.0,
        "batch_size": 64,
        "num_epochs": 9.0,
        "learning_rate": 1e-6,
        "adam_beta1": 0.9,
        "adam_beta2": 0.99,
        "weight_decay": 0.1,
        "vision_model_name_or_path": "openai/clip-vit-base-patch32",
        "text_model_name_or_path": "openai/clip-vit-base-patch32",
        "freeze_text_model": False,
        "freeze_vision_model": False,
    },
}
# Iscen et al. 2024, RECO on CC12M.
RECO_CC12M = {
    RECALLED: {
        "num_neighbors": 10,
        "batch_size": 4096,
        "num_epochs": 10.0,
        "learning_rate": 1e-3,
        "lr_scheduler": "cosine",
    },
}
# Where no recipe speaks: the released CLOOB (CC3M), CLIP and SigLIP.
LOSS_DEFAULTS = {
    "infoloob": {"hopfield_scale": 8.0, "logit_scale_init_value": math.log(30), "learn_logit_scale": False},
    "infonce": {"hopfield_scale": None, "logit_scale_init_value": math.log(1 / 0.07), "learn_logit_scale": True},
    "sigmoid": {"hopfield_scale": None, "logit_scale_init_value": math.log(10), "learn_logit_scale": True},
}
VIT_OPTIMIZER = {"weight_decay": 0.1, "adam_beta1": 0.9, "adam_beta2": 0.98, "adam_epsilon": 1e-6}
# Released sizes: the ResNet-50 tower's output, the text transformer, vocabulary and context.
RN50_WIDTH, TEXT_LAYERS, TEXT_WIDTH, TEXT_HEADS, VOCABULARY, CONTEXT = 2048, 12, 512, 8, 49408, 77
RN50_BLOCKS = [3, 4, 6, 3]


def recipe(name: str, arguments: type = PretrainArguments):
    return parse_arguments(arguments, "", argv=[str(RECIPE_FOLDER / f"{name}.yaml")])


def build_on_meta(args) -> CloobModel:
    """The recipe's model without memory for its weights; a pretrained tower has its architecture's configuration."""
    towers = {}
    for side in ("vision", "text"):
        if getattr(args, f"{side}_model_name_or_path"):
            # The defaults of transformers' CLIP are ViT-B/32's.
            towers[side] = {"model_type": f"clip_{side}_model"}
        else:
            towers[side] = tower_config(side, getattr(args, f"{side}_config"))
    with torch.device("meta"):
        return CloobModel.from_vision_text_pretrained(
            towers["vision"], towers["text"], projection_dim=args.projection_dim, **objective_fields(args)
        )


@pytest.fixture(scope="module")
def launched():
    """name -> (flags, model, optimizer), each built once."""
    built = {}

    def build(name: str):
        if name not in built:
            args = recipe(name)
            check_arguments(args)
            model = build_on_meta(args)
            built[name] = args, model, build_run_optimizer(args, model, model)
        return built[name]

    return build


@pytest.mark.parametrize(
    ("name", "arguments", "golden"),
    [
        ("cloob_cc3m", PretrainArguments, CLOOB_CC3M),
        ("contrastive_gap_coco", PretrainArguments, CONTRASTIVE_GAP),
        ("reco_cc12m", TrainRecoArguments, RECO_CC12M),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_recipe_has_the_papers_numbers_and_says_which_are_recalled(name, arguments, golden):
    flags = vars(recipe(name, arguments))
    for numbers in golden.values():
        assert {flag: flags[flag] for flag in numbers} == numbers
    text = (RECIPE_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    assert ("recall" in text) == (RECALLED in golden)
    assert "ours" in text or "Ours" in text


@pytest.mark.parametrize("name", ["cloob_cc3m", "contrastive_gap_coco"])
def test_nothing_is_done_that_the_papers_do_not_do(name):
    flags = vars(recipe(name))
    assert {flag: flags[flag] for flag in NO_MORE} == NO_MORE


def test_the_variants_of_the_contrastive_gap_are_a_flag_each():
    path = str(RECIPE_FOLDER / "contrastive_gap_coco.yaml")
    variant = parse_arguments(PretrainArguments, "", argv=[path, "--cross_modal_uniformity_weight", "1"])
    assert CloobConfig(**objective_fields(variant)).cross_modal_uniformity_weight == 1.0
    plain = parse_arguments(PretrainArguments, "", argv=[path, "--alignment_weight", "0", "--uniformity_weight", "0"])
    config = CloobConfig(**objective_fields(plain))
    assert (config.alignment_weight, config.uniformity_weight, config.learn_logit_scale) == (0, 0, False)
    assert math.exp(config.logit_scale_init_value) == pytest.approx(1 / 0.01)


@pytest.mark.parametrize("loss", LOSS_DEFAULTS)
def test_the_defaults_of_a_loss_are_the_published_ones(loss):
    config = CloobConfig(contrastive_loss=loss)
    assert {name: getattr(config, name) for name in LOSS_DEFAULTS[loss]} == pytest.approx(LOSS_DEFAULTS[loss])
    assert config.logit_bias_init_value == -10.0


def test_the_default_optimizer_is_clips_for_vision_transformers():
    assert {name: getattr(PretrainArguments(), name) for name in VIT_OPTIMIZER} == VIT_OPTIMIZER


def test_the_towers_of_cc3m_have_the_released_sizes(launched):
    args, model, _ = launched("cloob_cc3m")
    vision, text = model.config.vision_config, model.config.text_config
    assert (vision.hidden_sizes[-1], vision.depths, args.image_size) == (RN50_WIDTH, RN50_BLOCKS, 224)
    sizes = (text.num_hidden_layers, text.hidden_size, text.num_attention_heads)
    assert sizes == (TEXT_LAYERS, TEXT_WIDTH, TEXT_HEADS)
    assert (text.vocab_size, text.max_position_embeddings) == (VOCABULARY, CONTEXT)
    assert model.visual_projection.weight.shape == (1024, RN50_WIDTH)
    assert model.text_projection.weight.shape == (1024, TEXT_WIDTH)
    assert not isinstance(model.log_inverse_temperature, nn.Parameter)


def test_the_towers_of_the_contrastive_gap_are_vit_b_32_with_new_heads(launched):
    _, model, _ = launched("contrastive_gap_coco")
    vision = model.config.vision_config
    assert (vision.patch_size, vision.hidden_size, vision.num_hidden_layers) == (32, 768, 12)
    assert [model.visual_projection.weight.shape, model.text_projection.weight.shape] == [(128, 768), (128, 512)]


@pytest.mark.parametrize("name", ["cloob_cc3m", "contrastive_gap_coco"])
def test_norms_biases_scales_and_single_vectors_do_not_decay_and_all_else_does(launched, name):
    args, model, optimizer = launched(name)
    names = {group["weight_decay"]: set(group["names"]) for group in parameter_groups(model, args.weight_decay)}
    shapes = {name: each.shape for name, each in model.named_parameters() if each.requires_grad}
    assert names[0.0] == {name for name, shape in shapes.items() if len(shape) < 2}
    assert names[0.1] == {name for name, shape in shapes.items() if len(shape) >= 2}
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 0.1}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(shapes)
    expected = (args.adam_beta1, args.adam_beta2), args.adam_epsilon, args.learning_rate
    for group in optimizer.param_groups:
        assert (group["betas"], group["eps"], group["lr"]) == expected


def test_the_schedule_of_cc3m_warms_up_and_restarts_ten_times(launched):
    args, _, optimizer = launched("cloob_cc3m")
    num_steps = steps_of_epochs(args, CC3M_PAIRS)
    assert num_steps == pytest.approx(175_000, rel=0.01)
    schedule = build_schedule(optimizer, args.lr_scheduler, num_steps, args.warmup_steps, args.num_cycles)
    (rate_at, *_) = schedule.lr_lambdas
    cycle = (num_steps - args.warmup_steps) / 10
    assert rate_at(0) == 0 and rate_at(10_000) == 0.5 and rate_at(20_000) == 1.0
    for number in range(10):
        start = args.warmup_steps + number * cycle
        assert rate_at(math.ceil(start)) == pytest.approx(1.0, abs=1e-6)
        assert rate_at(start + cycle / 2) == pytest.approx(0.5, abs=1e-6)
        assert rate_at(math.ceil(start + cycle) - 1) == pytest.approx(0.0, abs=1e-6)


def test_nine_epochs_of_coco_are_their_steps_at_a_constant_rate(launched):
    args, _, optimizer = launched("contrastive_gap_coco")
    num_steps = steps_of_epochs(args, COCO_PAIRS)
    assert num_steps == round(9 * COCO_PAIRS / 64)
    schedule = build_schedule(optimizer, args.lr_scheduler, num_steps, args.warmup_steps)
    assert {schedule.lr_lambdas[0](step) for step in (0, 100, num_steps - 1)} == {1.0}


def test_the_pictures_of_cc3m_are_cropped_and_nothing_else():
    processor, transforms = build_processor(recipe("cloob_cc3m"), tiny_tokenizer())
    transform = transforms.pair
    assert (transform.image_size, transform.crop_scale, transform.crop_ratio) == (224, (0.9, 1.0), (3 / 4, 4 / 3))
    assert processor.image_processor.crop_size["height"] == 224
    # CLIP's statistics.
    assert transform.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    assert transform.std == pytest.approx((0.26862954, 0.26130258, 0.27577711))
