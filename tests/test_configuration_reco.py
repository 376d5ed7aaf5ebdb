# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""RecoConfig: defaults, the three kinds of base, saving, and mistakes."""

import pytest
from tiny_models import tiny_clip, tiny_cloob
from tiny_reco import tiny_base
from transformers import AutoConfig, CLIPConfig, SiglipConfig

from hf_cloob import CloobConfig, RecoConfig

BASES = {"clip": CLIPConfig, "siglip": SiglipConfig, "cloob": CloobConfig}


@pytest.mark.parametrize("family", BASES)
def test_a_configuration_survives_saving_and_knows_its_base(family, tmp_path):
    config = RecoConfig(base_config=tiny_base(family).config, num_neighbors=3, refine_text=False)
    config.save_pretrained(tmp_path)
    for loaded in (RecoConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert type(loaded) is RecoConfig and type(loaded.base_config) is BASES[family]
        assert (loaded.num_neighbors, loaded.refine_image, loaded.refine_text) == (3, True, False)
        assert loaded.projection_dim == {"clip": 16, "siglip": 32, "cloob": 16}[family]
        assert loaded.fusion_hidden_dim == 4 * loaded.projection_dim
        assert loaded.text_config.hidden_size == 32 and loaded.vision_config.image_size == 16
        assert (loaded.memory_size, loaded.memory_dtype, loaded.memory_fingerprint) == (None, "float16", None)


def test_the_defaults_are_the_papers_neighbors_and_clips_heads():
    config = RecoConfig()
    assert (config.num_neighbors, config.refine_image, config.refine_text) == (10, True, True)
    assert (config.projection_dim, config.fusion_num_heads, config.fusion_hidden_dim) == (512, 8, 2048)


def test_a_bases_configuration_is_copied():
    base = tiny_cloob().config
    config = RecoConfig(base_config=base)
    config.base_config.text_config.hidden_size = 8
    assert base.text_config.hidden_size == 32


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"base_config": {"model_type": "bert"}}, "A 'bert' model cannot be the base.*clip, siglip, cloob"),
        ({"num_neighbors": -1}, "num_neighbors must be at least 0, got -1"),
        ({"refine_image": False, "refine_text": False}, "leave the memory nothing to do"),
        ({"fusion_num_heads": 5}, "fusion_num_heads must divide the base's projection_dim 512, got 5"),
        ({"fusion_hidden_dim": 0}, "fusion_hidden_dim must be at least 1, got 0"),
        ({"memory_size": 0}, "memory_size must be at least 1.*got 0"),
        ({"memory_dtype": "int8"}, "memory_dtype must be one of float16, got 'int8'"),
        ({"num_neigbors": 4}, "RecoConfig has no field 'num_neigbors': did you mean 'num_neighbors'"),
    ],
)
def test_a_mistake_is_named(fields, message):
    with pytest.raises(ValueError, match=message):
        RecoConfig(**fields)


def test_another_models_folder_is_refused(tmp_path):
    tiny_clip().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds a 'clip' model, not a 'reco' one.*from_base"):
        RecoConfig.from_pretrained(tmp_path)
