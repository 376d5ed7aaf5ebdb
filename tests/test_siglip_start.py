# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A CloobModel started from a SigLIP is that SigLIP: embeddings, scores and loss."""

import pytest
import torch
from tiny_models import WIDTH, tiny_clip, tiny_inputs
from transformers import SiglipConfig, SiglipModel

from hf_cloob import CloobModel, cloob_from_siglip

TEXT = {**WIDTH, "vocab_size": 99, "max_position_embeddings": 16, "pad_token_id": 0}
TEXT |= {"bos_token_id": 97, "eos_token_id": 98, "projection_size": 32}


@pytest.fixture
def siglip(tmp_path) -> SiglipModel:
    torch.manual_seed(0)
    vision = {**WIDTH, "image_size": 16, "patch_size": 8}
    model = SiglipModel(SiglipConfig(text_config=TEXT, vision_config=vision)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        model.logit_scale.fill_(2.5)
        model.logit_bias.fill_(-3.0)
    model.save_pretrained(tmp_path / "siglip")
    return model


def siglip_inputs() -> dict:
    inputs = tiny_inputs(6)
    inputs["input_ids"] = torch.nn.functional.pad(inputs["input_ids"], (0, 16 - inputs["input_ids"].shape[1]))
    return {name: inputs[name] for name in ("input_ids", "pixel_values")}


def test_embeddings_scores_and_loss_equal_siglips(siglip, tmp_path):
    model = cloob_from_siglip(tmp_path / "siglip").eval()
    with torch.no_grad():
        expected, ours = (each(**siglip_inputs(), return_loss=True) for each in (siglip, model))
    for name in ("image_embeds", "text_embeds", "logits_per_image", "logits_per_text"):
        torch.testing.assert_close(ours[name], expected[name], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.loss, expected.loss, rtol=1e-5, atol=1e-6)
    assert ours.logits_per_image.std() > 0.01


def test_unpadded_texts_embed_as_siglips_padded_ones(siglip, tmp_path):
    model, short = cloob_from_siglip(tmp_path / "siglip").eval(), tiny_inputs(6)
    with torch.no_grad():
        expected = siglip(**siglip_inputs()).text_embeds
        ours = model.get_text_features(short["input_ids"], short["attention_mask"]).pooler_output
    torch.testing.assert_close(torch.nn.functional.normalize(ours, dim=-1), expected, rtol=1e-5, atol=1e-6)


def test_it_is_saved_loaded_and_trained_as_any_cloob(siglip, tmp_path):
    model = cloob_from_siglip(tmp_path / "siglip")
    model.save_pretrained(tmp_path / "saved")
    loaded = CloobModel.from_pretrained(tmp_path / "saved").eval()
    with torch.no_grad():
        assert torch.equal(
            loaded(**siglip_inputs()).logits_per_image, model.eval()(**siglip_inputs()).logits_per_image
        )
    model.train()(**siglip_inputs(), return_loss=True).loss.backward()
    missing = [name for name, each in model.named_parameters() if each.requires_grad and each.grad is None]
    assert missing == []


def test_another_objective_keeps_the_embeddings(siglip, tmp_path):
    model = cloob_from_siglip(tmp_path / "siglip", contrastive_loss="infoloob", logit_scale_init_value=3.4).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(**siglip_inputs()).image_embeds, siglip(**siglip_inputs()).image_embeds)
    assert (model.config.hopfield_scale, model.logit_scale.item()) == (8.0, pytest.approx(3.4))


def test_other_checkpoints_and_widths_are_refused(siglip, tmp_path):
    tiny_clip().save_pretrained(tmp_path / "clip")
    with pytest.raises(ValueError, match="is a 'clip' checkpoint: cloob_from_siglip takes 'siglip'"):
        cloob_from_siglip(tmp_path / "clip")
    with pytest.raises(ValueError, match="must be 32 and 'linear'"):
        cloob_from_siglip(tmp_path / "siglip", projection_dim=16)
