# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The recipes of the contrastive gap's paper: CLIP's towers and budget, its temperature and its weights."""

from command_line import RECIPE_FOLDER, parse_arguments
from pretrain import PretrainArguments


def recipe(name: str) -> dict:
    return vars(parse_arguments(PretrainArguments, "", argv=[str(RECIPE_FOLDER / f"{name}.yaml")]))


def changed(name: str, other: str) -> dict:
    own, base = recipe(name), recipe(other)
    return {key: value for key, value in own.items() if value != base[key]}


def test_cua_is_clip_with_uniformity_and_alignment_of_weight_one_at_a_fixed_temperature():
    assert changed("emoji_cua", "emoji_clip") == {
        "output_dir": "runs/emoji_cua",
        "inverse_temperature": 100.0,
        "learn_logit_scale": False,
        "uniformity_weight": 1.0,
        "alignment_weight": 1.0,
    }
    assert recipe("emoji_cua")["contrastive_loss"] == "infonce"


def test_cuaxu_is_cua_with_cross_modal_uniformity():
    assert changed("emoji_cuaxu", "emoji_cua") == {
        "output_dir": "runs/emoji_cuaxu",
        "cross_modal_uniformity_weight": 1.0,
    }
