# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""RECO checkpoints: made from a base, saved and loaded with or without their memory, refused where it is another."""

import json
import shutil

import pytest
import torch
from tiny_reco import FAMILIES, inputs_of, memory_for, save_base, stir, tiny_base
from transformers import AutoModel, AutoModelForZeroShotImageClassification, BertConfig

from hf_cloob import CloobModel, RecoForZeroShot, RecoMemory, encoder_fingerprint
from hf_cloob.reco_captions import ENTRIES_FILE
from hf_cloob.reco_memory_file import MEMORY_FILE


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[str, str]:
    """A saved checkpoint of each kind."""
    folder = tmp_path_factory.mktemp("bases")
    return {family: str(save_base(family, folder)) for family in FAMILIES}


@pytest.fixture
def reco(bases):
    """Build a model on a saved base, its fusion layers as after training unless they shall be new."""

    def build(family: str = "clip", new: bool = False, **fields) -> RecoForZeroShot:
        model = RecoForZeroShot.from_base(bases[family], **({"num_neighbors": 3} | fields))
        return model if new else stir(model)

    return build


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_model_scores_the_same_with_its_memory(family, reco, tmp_path):
    model, inputs = reco(family), inputs_of(family)
    model.set_memory(memory_for(model, fingerprint=encoder_fingerprint(model.base)))
    model.save_pretrained(tmp_path, save_memory=True)
    assert not any("memory" in name for name in model.state_dict())
    expected = model(**inputs).logits_per_image
    loaded, info = RecoForZeroShot.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    for again in (loaded, AutoModel.from_pretrained(tmp_path)):
        assert type(again) is RecoForZeroShot and torch.equal(again(**inputs).logits_per_image, expected)
        assert again.memory.captions_of([4]) == ["caption 4"]
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["memory_size"], config["memory_dtype"]) == (40, "float16")
    assert config["memory_fingerprint"] == encoder_fingerprint(tiny_base(family))
    assert str(tmp_path.parent) not in json.dumps(config)
    # A model that was loaded is saved again with its memory, or without.
    loaded.save_pretrained(tmp_path / "again", save_memory=True)
    assert torch.equal(RecoForZeroShot.from_pretrained(tmp_path / "again")(**inputs).logits_per_image, expected)
    loaded.save_pretrained(tmp_path / "without")
    assert not (tmp_path / "without" / MEMORY_FILE).exists()
    assert AutoModelForZeroShotImageClassification.from_pretrained(tmp_path / "without").memory is None


def test_load_memory_false_leaves_the_memory_where_it_is(reco, tmp_path):
    model, inputs = reco(), inputs_of("clip")
    model.set_memory(memory_for(model))
    model.save_pretrained(tmp_path, save_memory=True)
    loaded = RecoForZeroShot.from_pretrained(tmp_path, load_memory=False)
    assert loaded.memory is None
    assert torch.equal(loaded(**inputs).logits_per_image, model.base(**inputs).logits_per_image)
    loaded.set_memory(RecoMemory.from_pretrained(tmp_path))
    assert torch.equal(loaded(**inputs).logits_per_image, model(**inputs).logits_per_image)


def test_a_subfolder_holds_model_and_memory(reco, tmp_path):
    model, inputs = reco(), inputs_of("clip")
    model.set_memory(memory_for(model))
    model.save_pretrained(tmp_path / "inner", save_memory=True)
    loaded = RecoForZeroShot.from_pretrained(tmp_path, subfolder="inner")
    assert torch.equal(loaded(**inputs).logits_per_image, model(**inputs).logits_per_image)


def test_what_is_pushed_includes_the_memory_that_was_just_saved(reco, tmp_path):
    model = reco()
    model.set_memory(memory_for(model))
    model.save_pretrained(tmp_path, save_memory=True)
    assert not {MEMORY_FILE, ENTRIES_FILE} & set(model._get_files_timestamps(tmp_path))


def test_an_announced_memory_that_is_missing_or_another_is_an_error(reco, tmp_path):
    model = reco()
    model.set_memory(memory_for(model))
    model.save_pretrained(tmp_path / "good", save_memory=True)

    def copy(name: str):
        return shutil.copytree(tmp_path / "good", tmp_path / name)

    (copy("missing") / MEMORY_FILE).unlink()
    with pytest.raises(ValueError, match=f"announces a memory of 40 entries, which cannot be opened.*{MEMORY_FILE}"):
        RecoForZeroShot.from_pretrained(tmp_path / "missing")
    (copy("captions") / ENTRIES_FILE).unlink()
    with pytest.raises(ValueError, match=f"cannot be opened.*{ENTRIES_FILE}"):
        AutoModel.from_pretrained(tmp_path / "captions")
    memory_for(model, 39).save_pretrained(copy("smaller"), fingerprint=encoder_fingerprint(model.base))
    with pytest.raises(ValueError, match=r"not the one that the configuration announces.*are \(39, 'float16'"):
        RecoForZeroShot.from_pretrained(tmp_path / "smaller")
    memory_for(model).save_pretrained(copy("other"), fingerprint="another")
    with pytest.raises(ValueError, match="not the one that the configuration announces.*'another', 16"):
        RecoForZeroShot.from_pretrained(tmp_path / "other")


def test_from_base_takes_fields_precision_and_attention(bases):
    model = RecoForZeroShot.from_base(
        bases["clip"], refine_text=False, fusion_num_heads=4, dtype=torch.bfloat16, attn_implementation="eager"
    )
    assert model.config.num_neighbors == 10 and not model.config.refine_text and model.image_fusion.num_heads == 4
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model.base.config.text_config._attn_implementation == "eager"
    out = model(**inputs_of("clip") | {"pixel_values": torch.randn(2, 3, 16, 16).bfloat16()}, output_attentions=True)
    assert len(out.text_model_output.attentions) == 2


def test_a_checkpoint_of_another_kind_is_no_base(tmp_path, reco):
    BertConfig().save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match="is a 'bert' checkpoint: from_base takes clip, siglip, cloob"):
        RecoForZeroShot.from_base(tmp_path / "bert")
    reco().save_pretrained(tmp_path / "reco")
    with pytest.raises(ValueError, match="is a 'reco' checkpoint"):
        RecoForZeroShot.from_base(tmp_path / "reco")
    with pytest.raises(ValueError, match="save_memory=True, but this model has no memory"):
        reco().save_pretrained(tmp_path / "x", save_memory=True)


def test_a_cloob_base_is_the_packages_model(bases):
    assert type(RecoForZeroShot.from_base(bases["cloob"]).base) is CloobModel
