# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""CloobConfig: defaults, round trips, illegal combinations and independence of other models' configurations."""

import json
import math

import pytest
import torch
from tiny_models import CLIP_TEXT, CLIP_VISION, tiny_cloob, tiny_config, tiny_inputs
from transformers import AutoConfig, BertConfig, CLIPConfig, CLIPModel, CLIPTextConfig

from hf_cloob import CloobConfig, CloobModel

PLACE_AND_VERSION = ("_name_or_path", "transformers_version")


def own_fields(config: CloobConfig) -> dict:
    return {name: value for name, value in config.to_dict().items() if name not in PLACE_AND_VERSION}


@pytest.mark.parametrize(
    ("contrastive_loss", "hopfield_scale", "logit_scale", "learned"),
    [
        ("infoloob", 8.0, math.log(30), False),
        ("infonce", None, math.log(1 / 0.07), True),
        ("sigmoid", None, math.log(10), True),
    ],
)
def test_defaults_follow_the_objective(contrastive_loss, hopfield_scale, logit_scale, learned):
    config = CloobConfig(contrastive_loss=contrastive_loss)
    assert config.hopfield_scale == hopfield_scale
    assert config.logit_scale_init_value == pytest.approx(logit_scale)
    assert config.learn_logit_scale is learned
    assert config.logit_bias_init_value == -10.0 and config.projection_dim == 512


def test_the_default_is_the_papers_cloob_with_clips_towers():
    config = CloobConfig()
    assert config.contrastive_loss == "infoloob"
    assert (
        config.text_config.model_type == "clip_text_model" and config.vision_config.model_type == "clip_vision_model"
    )
    assert (config.alignment_weight, config.uniformity_weight, config.cross_modal_uniformity_weight) == (0, 0, 0)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"hopfield_scale": None},
        {"hopfield_scale": 14.3},
        {"hopfield_scale": 14},
        {"contrastive_loss": "infonce"},
        {"contrastive_loss": "infonce", "hopfield_scale": 8.0},
        # Values that are the defaults of another objective: a saved difference from the defaults must not lose them.
        {"contrastive_loss": "infonce", "logit_scale_init_value": math.log(30), "learn_logit_scale": False},
        {"learn_logit_scale": True, "logit_scale_init_value": math.log(1 / 0.07)},
        {"contrastive_loss": "sigmoid", "logit_bias_init_value": -5, "learn_logit_scale": False},
        {"contrastive_loss": "infonce", "label_smoothing": 0.1},
        {"alignment_weight": 1, "uniformity_weight": 0.5, "cross_modal_uniformity_weight": 2.0},
        {"projection_type": "mlp", "projection_hidden_dim": 24, "text_pooling": "last", "vision_pooling": "mean"},
    ],
)
def test_saved_and_loaded_it_is_the_same(fields, tmp_path):
    config = tiny_config(**fields)
    config.save_pretrained(tmp_path)
    for loaded in (
        CloobConfig.from_pretrained(tmp_path),
        AutoConfig.from_pretrained(tmp_path),
        CloobConfig.from_dict(config.to_dict()),
    ):
        assert type(loaded) is CloobConfig
        assert own_fields(loaded) == own_fields(config)
    assert json.loads((tmp_path / "config.json").read_text())["hopfield_scale"] == config.hopfield_scale


def test_towers_of_any_kind_come_back_as_their_own_configuration(tmp_path):
    tiny_config(text={"model_type": "bert", "hidden_size": 32}, vision={"model_type": "resnet"}).save_pretrained(
        tmp_path
    )
    loaded = CloobConfig.from_pretrained(tmp_path)
    assert (loaded.text_config.model_type, loaded.vision_config.model_type) == ("bert", "resnet")
    assert loaded.text_config.hidden_size == 32


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"contrastive_loss": "clip"}, "contrastive_loss must be one of infoloob, infonce, sigmoid, got 'clip'"),
        ({"contrastive_loss": "sigmoid", "hopfield_scale": 8.0}, "hopfield_scale=8.0 .*contrastive_loss='sigmoid'"),
        ({"label_smoothing": 0.1}, "label_smoothing=0.1 .*infonce.* got contrastive_loss='infoloob'"),
        (
            {"contrastive_loss": "sigmoid", "label_smoothing": 0.1},
            "label_smoothing=0.1 .*got contrastive_loss='sigmoid'",
        ),
        ({"contrastive_loss": "infonce", "label_smoothing": 1.0}, r"label_smoothing must be in \[0, 1\), got 1.0"),
        ({"contrastive_loss": "infonce", "label_smoothing": -0.1}, r"label_smoothing must be in \[0, 1\), got -0.1"),
        ({"hopfield_scale": 0}, "hopfield_scale must be .*above 0, got 0"),
        ({"hopfield_scale": -8.0}, "hopfield_scale must be .*above 0, got -8.0"),
        ({"hopfield_scale": math.inf}, "hopfield_scale must be .*got inf"),
        ({"hopfield_scale": math.nan}, "hopfield_scale must be .*got nan"),
        ({"hopfield_scale": "none"}, "hopfield_scale must be 'auto', None or .* got 'none'"),
        ({"logit_scale_init_value": math.inf}, "logit_scale_init_value is log t.* got inf"),
        ({"logit_scale_init_value": 30.0}, "logit_scale_init_value is log t.* got 30.0"),
        (
            {"contrastive_loss": "sigmoid", "logit_bias_init_value": math.nan},
            "logit_bias_init_value must be finite, got nan",
        ),
        ({"alignment_weight": -1.0}, "alignment_weight must be .*at least 0, got -1.0"),
        ({"uniformity_weight": math.nan}, "uniformity_weight must be .*got nan"),
        ({"cross_modal_uniformity_weight": math.inf}, "cross_modal_uniformity_weight must be .*got inf"),
        ({"projection_type": "conv"}, "projection_type must be one of linear, mlp, got 'conv'"),
        ({"projection_type": "mlp", "projection_hidden_dim": 0}, "projection_hidden_dim must be at least 1, got 0"),
        ({"text_pooling": "cls"}, "text_pooling must be one of auto, pooler, mean, first, last, got 'cls'"),
        ({"vision_pooling": "last"}, "vision_pooling must be one of auto, pooler, mean, first, got 'last'"),
    ],
)
def test_an_illegal_choice_names_the_value_and_what_is_allowed(fields, message):
    with pytest.raises(ValueError, match=message):
        tiny_config(**fields)


def test_an_impossible_projection_width_is_named():
    with pytest.raises(ValueError, match="projection_dim must be at least 1, got 0"):
        CloobConfig(projection_dim=0)


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("hopfield_scal", "hopfield_scale"),
        ("hopfield_scales", "hopfield_scale"),
        ("contrastiv_loss", "contrastive_loss"),
        ("label_smooting", "label_smoothing"),
        ("learn_logitscale", "learn_logit_scale"),
        ("projecton_dim", "projection_dim"),
        ("aligment_weight", "alignment_weight"),
        ("vison_config", "vision_config"),
    ],
)
def test_a_misspelt_field_is_an_error_with_the_right_name(misspelt, meant):
    with pytest.raises(ValueError, match=f"no field '{misspelt}': did you mean '{meant}'"):
        CloobConfig(**{misspelt: 1})


def test_fields_of_transformers_and_of_later_versions_are_kept():
    config = CloobConfig(architectures=["CloobModel"], id2label={0: "a"}, from_a_later_version=3)
    assert config.from_a_later_version == 3 and config.architectures == ["CloobModel"]


def test_a_field_changed_to_something_illegal_is_found_when_the_model_is_built():
    config = tiny_config()
    config.hopfield_scale = -3.0
    with pytest.raises(ValueError, match="got -3.0"):
        CloobModel(config)


def test_another_models_folder_is_an_error_that_says_what_to_call(tmp_path):
    BertConfig(hidden_size=32).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="'bert'.*from_vision_text_pretrained"):
        CloobConfig.from_pretrained(tmp_path)
    CLIPConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="'clip'.*from_clip"):
        CloobConfig.from_pretrained(tmp_path)


def test_a_source_models_attention_and_outputs_survive_a_cloob_built_from_its_configuration(tmp_path):
    torch.manual_seed(0)
    clip = CLIPModel._from_config(
        CLIPConfig(text_config=CLIP_TEXT, vision_config=CLIP_VISION, projection_dim=16), attn_implementation="eager"
    ).eval()
    inputs = tiny_inputs()
    before = clip(**inputs).logits_per_image
    config = CloobConfig(text_config=clip.config.text_config, vision_config=clip.config.vision_config)
    model = CloobModel(config)
    model.set_attn_implementation("sdpa")
    assert config.text_config is not clip.config.text_config and config.vision_config is not clip.config.vision_config
    assert clip.text_model.config._attn_implementation == "eager"
    assert clip.vision_model.config._attn_implementation == "eager"
    assert torch.equal(clip(**inputs).logits_per_image, before)


def test_one_configuration_object_may_serve_two_models():
    text, fields = CLIPTextConfig(**CLIP_TEXT), {"projection_dim": 16}
    first = CloobConfig(text_config=text, vision_config=CLIP_VISION, **fields)
    second = CloobConfig(text_config=text, vision_config=CLIP_VISION, **fields)
    assert first.text_config is not second.text_config
    first.text_config.hidden_size = 1
    assert second.text_config.hidden_size == text.hidden_size == 32


def test_a_dict_given_as_tower_is_not_changed():
    before = json.dumps(CLIP_TEXT)
    tiny_cloob()
    assert json.dumps(CLIP_TEXT) == before


def test_attention_is_chosen_per_tower():
    config = tiny_config()
    model = CloobModel._from_config(config, attn_implementation={"text_config": "eager", "vision_config": "sdpa"})
    assert model.text_model.config._attn_implementation == "eager"
    assert model.vision_model.config._attn_implementation == "sdpa"
