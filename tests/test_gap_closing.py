# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Closing the gap after training: the offsets of a calibration set, how they are saved, published and taken out."""

import json
import os
import subprocess
import sys

import pytest
import torch
from tiny_models import tiny_clip, tiny_cloob, tiny_inputs
from torch.nn.functional import normalize

from hf_cloob import (
    CloobConfig,
    CloobModel,
    CloobTextModelWithProjection,
    CloobVisionModelWithProjection,
    close_gap,
    open_gap,
)
from hf_cloob.gap_closing import fit_offsets, subtract_offset

METHODS = ("centering", "shift")


def embeddings(rows: int = 9, width: int = 16, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)) + 0.3, dim=-1)


def closed(method: str = "centering", **fields) -> tuple[CloobModel, CloobModel]:
    """The same model with an open and with a closed gap."""
    model, other = tiny_cloob(**fields).eval(), tiny_cloob(**fields).eval()
    out = model(**tiny_inputs(8, seed=1))
    close_gap(other, out.image_embeds, out.text_embeds, method)
    return model, other


def test_centering_takes_each_mean_and_the_shift_half_their_difference():
    images, texts = embeddings(), embeddings(5, seed=1)
    image_offset, text_offset = fit_offsets(images, texts)
    torch.testing.assert_close(image_offset, images.mean(dim=0))
    torch.testing.assert_close((texts - text_offset).mean(dim=0), torch.zeros(16), atol=1e-7, rtol=0)
    image_offset, text_offset = fit_offsets(images, texts, "shift")
    assert torch.equal(image_offset, -text_offset)
    # Before they are normalized again the centers meet, and nothing but the gap has moved.
    torch.testing.assert_close((images - image_offset).mean(dim=0), (texts - text_offset).mean(dim=0))
    torch.testing.assert_close(2 * image_offset, images.mean(dim=0) - texts.mean(dim=0))


def test_an_offset_is_subtracted_after_normalization_in_float32():
    embeds, offset = 7 * embeddings(), torch.full((16,), 0.25)
    assert subtract_offset(embeds, None) is embeds
    torch.testing.assert_close(subtract_offset(embeds, offset), embeds / embeds.norm(dim=1, keepdim=True) - 0.25)
    assert subtract_offset(embeds.bfloat16(), offset.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("method", METHODS)
def test_every_way_to_embed_carries_the_offsets(method):
    model, other = closed(method)
    inputs = tiny_inputs()
    before, after = model(**inputs), other(**inputs)
    for side in ("image", "text"):
        plain, offset = getattr(before, f"{side}_embeds"), getattr(other, f"{side}_offset")
        expected = normalize(plain - offset, dim=-1)
        assert (expected - plain).abs().max() > 0.01
        torch.testing.assert_close(getattr(after, f"{side}_embeds"), expected)
    torch.testing.assert_close(after.logits_per_image, 30 * after.image_embeds @ after.text_embeds.T)
    images = other.get_image_features(inputs["pixel_values"]).pooler_output
    torch.testing.assert_close(normalize(images, dim=-1), after.image_embeds)
    states = other.pooled_text_states(inputs["input_ids"], inputs["attention_mask"]).pooler_output
    cached = other(pixel_values=inputs["pixel_values"], text_pooler_output=states)
    torch.testing.assert_close(cached.text_embeds, after.text_embeds)


@pytest.mark.parametrize("method", METHODS)
def test_the_gap_of_the_calibration_set_shrinks(method):
    model, other = closed(method)
    gaps = []
    for each in (model, other):
        out = each(**tiny_inputs(8, seed=1))
        gaps.append((out.image_embeds.mean(dim=0) - out.text_embeds.mean(dim=0)).norm().item())
    assert gaps[1] < 0.5 * gaps[0]


def test_a_closed_model_and_its_single_towers_are_loaded_as_saved(tmp_path):
    _, model = closed()
    expected = model(**tiny_inputs())
    model.save_pretrained(tmp_path)
    loaded, info = CloobModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert loaded.config.gap_closing == "centering"
    assert torch.equal(loaded(**tiny_inputs()).logits_per_image, expected.logits_per_image)
    inputs = tiny_inputs()
    vision, info = CloobVisionModelWithProjection.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    embeds = vision(inputs.pop("pixel_values")).image_embeds
    torch.testing.assert_close(normalize(embeds, dim=-1), expected.image_embeds)
    text, info = CloobTextModelWithProjection.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    torch.testing.assert_close(normalize(text(**inputs).text_embeds, dim=-1), expected.text_embeds)


def test_a_model_whose_gap_was_never_closed_saves_nothing_of_it(tmp_path):
    model = tiny_cloob()
    assert not [name for name in model.state_dict() if "offset" in name]
    model.save_pretrained(tmp_path)
    # As checkpoints were before the field existed.
    config = json.loads((tmp_path / "config.json").read_text())
    assert config.pop("gap_closing") is None
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded, info = CloobModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and loaded.image_offset is None


def test_offsets_that_a_folder_lacks_are_zero_and_missing(tmp_path):
    tiny_cloob().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"gap_closing": "shift"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded, info = CloobModel.from_pretrained(tmp_path, output_loading_info=True)
    assert set(info["missing_keys"]) == {"image_offset", "text_offset"}
    assert not loaded.image_offset.any() and not loaded.text_offset.any()


def test_a_fresh_interpreter_without_the_package_embeds_with_the_offsets(tmp_path):
    _, model = closed()
    model.save_pretrained(tmp_path / "closed")
    inputs = tiny_inputs()
    torch.save(inputs, tmp_path / "inputs.pt")
    code = (
        "import sys, torch; sys.modules['hf_cloob'] = None\n"
        "from transformers import AutoModel\n"
        "model = AutoModel.from_pretrained('closed', trust_remote_code=True).eval()\n"
        "print(model(**torch.load('inputs.pt')).logits_per_image.tolist())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = torch.tensor(json.loads(done.stdout.splitlines()[-1]))
    torch.testing.assert_close(found, model(**inputs).logits_per_image)


def test_opening_the_gap_gives_the_model_back():
    model, other = closed("shift")
    open_gap(other)
    assert other.config.gap_closing is None and other.state_dict().keys() == model.state_dict().keys()
    assert torch.equal(other(**tiny_inputs()).logits_per_image, model(**tiny_inputs()).logits_per_image)


def test_a_clip_gains_through_from_clip(tmp_path):
    clip = tiny_clip().eval()
    clip.save_pretrained(tmp_path)
    model = CloobModel.from_clip(tmp_path).eval()
    out = clip(**tiny_inputs(8, seed=1))
    close_gap(model, out.image_embeds, out.text_embeds)
    closed_out = model(**tiny_inputs(8, seed=1))
    torch.testing.assert_close(
        closed_out.image_embeds, normalize(out.image_embeds - out.image_embeds.mean(dim=0), dim=-1)
    )


def test_offsets_take_part_in_training_as_constants():
    _, model = closed()
    offset = model.image_offset.clone()
    model.train()(**tiny_inputs(), return_loss=True).loss.backward()
    assert model.visual_projection.weight.grad.abs().sum() > 0
    assert torch.equal(model.image_offset, offset) and not model.image_offset.requires_grad


def test_mistakes_are_named():
    images, texts = embeddings(), embeddings(seed=1)
    with pytest.raises(ValueError, match="one of centering, shift, got 'move'"):
        fit_offsets(images, texts, "move")
    with pytest.raises(ValueError, match="one projection_dim, got 16 and 8"):
        fit_offsets(images, texts[:, :8])
    with pytest.raises(ValueError, match=r"text_embeds must be .* got \(0, 16\)"):
        fit_offsets(images, texts[:0])
    with pytest.raises(ValueError, match=r"1 of 9 rows"):
        fit_offsets(images.index_fill(0, torch.tensor([2]), float("nan")), texts)
    with pytest.raises(ValueError, match="got a CLIPModel"):
        close_gap(tiny_clip(), images, texts)
    with pytest.raises(ValueError, match="12 dimensions, those of this model 16"):
        close_gap(tiny_cloob(), embeddings(width=12), embeddings(width=12))
    with pytest.raises(ValueError, match="closed already.*'centering'"):
        close_gap(closed()[1], images, texts)
    with pytest.raises(ValueError, match="gap_closing must be one of None, centering, shift, got 'move'"):
        CloobConfig(gap_closing="move")
