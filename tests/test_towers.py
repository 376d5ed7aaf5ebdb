# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Towers of every kind learn, none waits for a gradient that never comes, CLIP's start as the released CLIP."""

import copy
import math

import pytest
import torch
from tiny_models import CLIP_TEXT, CLIP_VISION, WIDTH, tiny_cloob, tiny_config, tiny_inputs
from torch import nn
from transformers import AutoConfig, AutoModel, SiglipModel

from hf_cloob import CloobModel
from hf_cloob.towers import build_tower, pooled_width

PATCHES = {"image_size": 32, "patch_size": 8}
STAGES = {"hidden_sizes": [8, 16], "depths": [1, 1]}
VISION = {
    "clip_vision_model": CLIP_VISION,
    "vit": WIDTH | PATCHES,
    "dinov2": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, **PATCHES},
    "siglip_vision_model": WIDTH | PATCHES,
    "resnet": {"embedding_size": 8, "layer_type": "basic", **STAGES},
    "regnet": {"embedding_size": 8, "groups_width": 8, **STAGES},
    "convnext": {"num_stages": 2, **STAGES},
    "swin": {"embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 2, "image_size": 32},
    "efficientnet": {"width_coefficient": 0.1, "depth_coefficient": 0.1, "hidden_dim": 128, "image_size": 32},
    "mobilenet_v2": {"depth_multiplier": 0.25, "image_size": 32, "finegrained_output": False},
    "mobilevit": {"hidden_sizes": [8, 8, 8], "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 16], "num_attention_heads": 2},
}
WORDS = {"vocab_size": 99, "pad_token_id": 0, "max_position_embeddings": 64}
TEXT = {
    "clip_text_model": CLIP_TEXT,
    "bert": WIDTH | WORDS,
    "roberta": WIDTH | WORDS,
    "distilbert": {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2, **WORDS},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64, "vocab_size": 99, "eos_token_id": 98},
    "siglip_text_model": WIDTH | WORDS | {"bos_token_id": 97, "eos_token_id": 98, "projection_size": 24},
    "modernbert": WIDTH | WORDS | {"cls_token_id": 97, "sep_token_id": 98, "bos_token_id": 97, "eos_token_id": 98},
    "mpnet": WIDTH | WORDS,
}


def tower_dict(model_type: str) -> dict:
    return {"model_type": model_type} | (VISION | TEXT)[model_type]


def gradients_after_one_loss(model: CloobModel, image_size: int) -> set[str]:
    model.train()
    model(**tiny_inputs(6, image_size=image_size), return_loss=True).loss.backward()
    return {name for name, parameter in model.named_parameters() if parameter.grad is not None}


def assert_exactly_the_trainable_parameters_learn(text: str, vision: str, **fields) -> None:
    def build() -> CloobModel:
        torch.manual_seed(0)
        return CloobModel(tiny_config(tower_dict(text), tower_dict(vision), **fields))

    image_size = 16 if vision == "clip_vision_model" else 32
    model = build()
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert gradients_after_one_loss(model, image_size) == trainable
    # Whatever was frozen would get no gradient either: nothing that works is held back.
    thawed = build()
    for name, parameter in thawed.named_parameters():
        if name not in ("text_model.embeddings.position_ids",):
            parameter.requires_grad_(True)
    assert gradients_after_one_loss(thawed, image_size) == trainable


@pytest.mark.parametrize("vision", VISION)
def test_every_trainable_parameter_of_a_vision_tower_gets_a_gradient(vision):
    assert_exactly_the_trainable_parameters_learn("clip_text_model", vision)


@pytest.mark.parametrize("text", TEXT)
def test_every_trainable_parameter_of_a_text_tower_gets_a_gradient(text):
    assert_exactly_the_trainable_parameters_learn(text, "clip_vision_model")


@pytest.mark.parametrize("vision", VISION)
def test_mean_pooling_leaves_no_vision_parameter_waiting(vision):
    assert_exactly_the_trainable_parameters_learn("clip_text_model", vision, vision_pooling="mean")


@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
@pytest.mark.parametrize("text", ["bert", "siglip_text_model", "gpt2"])
def test_own_pooling_leaves_no_text_parameter_waiting(text, pooling):
    assert_exactly_the_trainable_parameters_learn(text, "clip_vision_model", text_pooling=pooling)


@pytest.mark.parametrize(("text", "vision"), [("bert", "dinov2"), ("mpnet", "convnext"), ("gpt2", "resnet")])
def test_foreign_towers_train_together(text, vision):
    assert_exactly_the_trainable_parameters_learn(text, vision, projection_type="mlp", contrastive_loss="infonce")


@pytest.mark.parametrize(("pooling", "width"), [("auto", 24), ("mean", 32)])
def test_pooled_width_of_siglips_text_tower_depends_on_the_pooling(pooling, width):
    tower = build_tower(AutoConfig.for_model(**tower_dict("siglip_text_model")), "text", pooling)
    assert pooled_width(tower, pooling) == width


def test_a_tower_without_a_known_width_is_an_error_that_names_it():
    config = AutoConfig.for_model("mobilevitv2", image_size=32)
    with pytest.raises(ValueError, match="pooled width of a 'mobilevitv2' tower"):
        pooled_width(build_tower(config, "vision", "auto"), "auto")


def test_a_tower_that_keeps_no_promise_about_its_width_is_an_error():
    model = tiny_cloob()
    model.visual_projection = nn.Linear(48, 16)
    with pytest.raises(ValueError, match="'clip_vision_model' tower gives vectors of width 32.*promises 48"):
        model.get_image_features(tiny_inputs()["pixel_values"])


@pytest.mark.parametrize("model_type", ["t5", "bart"])
def test_an_encoder_decoder_is_an_error(model_type):
    with pytest.raises(ValueError, match=f"'{model_type}' model has a decoder"):
        build_tower(AutoConfig.for_model(model_type), "text", "auto")


@pytest.mark.parametrize("side", ["text", "vision"])
def test_a_dual_encoder_is_an_error_that_says_which_part_to_give(side):
    with pytest.raises(ValueError, match=f"'clip' model has two towers: give its {side}_config"):
        build_tower(AutoConfig.for_model("clip"), side, "auto")


def test_towers_given_the_wrong_way_round_are_an_error():
    with pytest.raises(ValueError, match="'clip_vision_model' model takes pixel_values and cannot be the text tower"):
        CloobModel(tiny_config(text=CLIP_VISION))
    with pytest.raises(ValueError, match="'bert' model takes input_ids and cannot be the vision tower"):
        CloobModel(tiny_config(vision=tower_dict("bert")))


def test_a_configuration_without_a_model_is_an_error():
    with pytest.raises(ValueError, match="'siglip2_text_model' model cannot be a tower"):
        build_tower(AutoConfig.for_model("siglip2_text_model"), "text", "auto")


def test_frozen_parts_stay_frozen_after_saving_and_loading(tmp_path):
    model = CloobModel(tiny_config(vision=tower_dict("dinov2"), vision_pooling="mean"))
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {"vision_model.embeddings.mask_token"}
    model.save_pretrained(tmp_path)
    loaded = CloobModel.from_pretrained(tmp_path)
    assert {name for name, parameter in loaded.named_parameters() if not parameter.requires_grad} == frozen


# -- the released CLIP's initialization --

WIDE = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 3, "num_attention_heads": 4}


def wide_cloob(seed: int = 0) -> CloobModel:
    torch.manual_seed(seed)
    return CloobModel(tiny_config(CLIP_TEXT | WIDE | {"vocab_size": 500}, CLIP_VISION | WIDE | {"image_size": 64}))


def assert_spread(tensor: torch.Tensor, std: float) -> None:
    assert tensor.std().item() == pytest.approx(std, rel=5 / math.sqrt(tensor.numel()) + 0.002)
    assert abs(tensor.mean().item()) < 5 * std / math.sqrt(tensor.numel())


def assert_released_text(model: CloobModel) -> None:
    """OpenAI's `initialize_parameters`."""
    text, width, layers = model.text_model, 256, 3
    assert_spread(text.embeddings.token_embedding.weight, 0.02)
    assert_spread(text.embeddings.position_embedding.weight, 0.01)
    assert_spread(model.text_projection.weight, width**-0.5)
    for layer in text.encoder.layers:
        for name in ("q_proj", "k_proj", "v_proj"):
            assert_spread(getattr(layer.self_attn, name).weight, width**-0.5)
        assert_spread(layer.self_attn.out_proj.weight, width**-0.5 * (2 * layers) ** -0.5)
        assert_spread(layer.mlp.fc1.weight, (2 * width) ** -0.5)
        assert_spread(layer.mlp.fc2.weight, width**-0.5 * (2 * layers) ** -0.5)


def assert_released_vision(model: CloobModel) -> None:
    """torch's defaults for the layers of OpenAI's VisionTransformer, width**-0.5 for its own parameters."""
    vision, width = model.vision_model, 256
    attention, up, down = nn.MultiheadAttention(width, 4), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
    patches = nn.Conv2d(3, width, 8, 8, bias=False)
    assert_spread(vision.embeddings.class_embedding, width**-0.5)
    assert_spread(vision.embeddings.position_embedding.weight, width**-0.5)
    assert_spread(model.visual_projection.weight, width**-0.5)
    pairs = [(vision.embeddings.patch_embedding.weight, patches.weight)]
    for layer in vision.encoder.layers:
        for index, name in enumerate(("q_proj", "k_proj", "v_proj")):
            pairs.append((getattr(layer.self_attn, name).weight, attention.in_proj_weight.chunk(3)[index]))
        pairs.append((layer.self_attn.out_proj.weight, attention.out_proj.weight))
        pairs += [(layer.mlp.fc1.weight, up.weight), (layer.mlp.fc2.weight, down.weight)]
        pairs += [(layer.mlp.fc1.bias, up.bias), (layer.mlp.fc2.bias, down.bias)]
    for ours, released in pairs:
        assert ours.std().item() == pytest.approx(released.std().item(), rel=12 / math.sqrt(ours.numel()))
        assert ours.abs().max().item() == pytest.approx(released.abs().max().item(), rel=12 / math.sqrt(ours.numel()))


def test_towers_from_scratch_have_the_released_spread():
    assert_released_text(wide_cloob())
    assert_released_vision(wide_cloob())


def test_biases_and_norms_start_as_released():
    model = wide_cloob()
    for tower in (model.text_model, model.vision_model):
        for name, parameter in tower.named_parameters():
            if "norm" in name or "layrnorm" in name:
                assert torch.equal(parameter, torch.full_like(parameter, float(name.endswith("weight")))), name
            elif name.endswith("bias"):
                zero = "self_attn" in name
                bound = 0.0 if zero else (256 if "fc1" in name else 1024) ** -0.5
                assert parameter.abs().max() <= bound, name
                assert zero or parameter.abs().max() > 0.9 * bound, name


def test_weights_missing_in_a_checkpoint_start_as_released(tmp_path):
    model = wide_cloob()
    kept = {name: tensor for name, tensor in model.state_dict().items() if "norm" in name or name.endswith("bias")}
    model.save_pretrained(tmp_path, state_dict=kept)
    loaded, info = CloobModel.from_pretrained(tmp_path, output_loading_info=True)
    assert len(info["missing_keys"]) > 30
    assert not torch.equal(loaded.text_projection.weight, model.text_projection.weight)
    assert_released_text(loaded)
    assert_released_vision(loaded)


def test_a_copied_model_can_be_drawn_again():
    model = copy.deepcopy(wide_cloob())
    before = model.text_projection.weight.clone()
    for module in model.modules():
        module._is_hf_initialized = False
    for parameter in model.parameters():
        parameter._is_hf_initialized = False
    model.init_weights()
    assert not torch.equal(before, model.text_projection.weight)
    assert_released_text(model)
    assert_released_vision(model)


def test_the_seed_decides_the_weights():
    first, second, other = wide_cloob(1).state_dict(), wide_cloob(1).state_dict(), wide_cloob(2).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["text_projection.weight"], other["text_projection.weight"])


def test_other_towers_keep_their_own_initialization():
    torch.manual_seed(0)
    config = AutoConfig.for_model("vit", **VISION["vit"])
    model = CloobModel(tiny_config(vision=config.to_dict()))
    torch.manual_seed(0)
    tiny_cloob()  # draws the same text tower first
    assert model.vision_model.layers[0].mlp.fc1.weight.std().item() == pytest.approx(config.initializer_range, rel=0.1)
    assert type(model.vision_model) is type(AutoModel.from_config(config))


# -- SigLIP's text tower looks at its padding --


def test_siglips_text_embedding_does_not_depend_on_the_longest_text_of_the_batch():
    model = CloobModel(tiny_config(text=tower_dict("siglip_text_model"))).eval()
    inputs = tiny_inputs()
    together = model.get_text_features(inputs["input_ids"], inputs["attention_mask"]).pooler_output
    for row, length in enumerate(inputs["attention_mask"].sum(dim=1).tolist()):
        alone = model.get_text_features(inputs["input_ids"][row : row + 1, :length]).pooler_output
        torch.testing.assert_close(alone[0], together[row])


def test_siglips_towers_give_siglips_embeddings(tmp_path):
    torch.manual_seed(0)
    text, vision = tower_dict("siglip_text_model") | {"projection_size": 32}, tower_dict("siglip_vision_model")
    siglip = SiglipModel(AutoConfig.for_model("siglip", text_config=text, vision_config=vision)).eval()
    siglip.save_pretrained(tmp_path)
    model = CloobModel.from_vision_text_pretrained(tmp_path, tmp_path, projection_dim=32, contrastive_loss="sigmoid")
    for projection in (model.text_projection, model.visual_projection):
        nn.init.eye_(projection.weight)
    inputs = tiny_inputs(image_size=32)
    padded = nn.functional.pad(inputs["input_ids"], (0, 64 - inputs["input_ids"].shape[1]))
    expected = siglip(input_ids=padded, pixel_values=inputs["pixel_values"])
    ours = model.eval()(**inputs)
    torch.testing.assert_close(ours.text_embeds, expected.text_embeds)
    torch.testing.assert_close(ours.image_embeds, expected.image_embeds)
