# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""SigLIP's texts are padded to the whole context, other models' to the longest of the batch."""

import torch
from torch.nn import functional as F
from transformers import SiglipConfig, SiglipModel

from hf_cloob import RecoConfig, RecoForZeroShot
from hf_cloob.encoding import encode_texts
from hf_cloob.text_padding import pad_tokens_as_trained, padded_as_trained
from tests.tiny_models import CAPTIONS, CLIP_VISION, WIDTH, tiny_cloob, tiny_tokenizer


def tiny_siglip(tokenizer) -> SiglipModel:
    torch.manual_seed(0)
    text = WIDTH | {"vocab_size": len(tokenizer), "max_position_embeddings": 24, "projection_size": 32}
    text |= {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    vision = {key: value for key, value in CLIP_VISION.items() if key != "model_type"}
    return SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).eval()


def test_siglip_texts_are_embedded_as_if_padded_to_the_context():
    tokenizer = tiny_tokenizer(24)
    model = tiny_siglip(tokenizer)
    with torch.no_grad():
        inputs = tokenizer(CAPTIONS, padding="max_length", max_length=24, return_tensors="pt")
        wanted = F.normalize(model.get_text_features(**inputs).pooler_output, dim=-1)
    embeds = encode_texts(model, CAPTIONS, padded_as_trained(model, tokenizer), batch_size=2)
    assert torch.allclose(embeds, wanted, rtol=0, atol=1e-6)
    assert not torch.allclose(encode_texts(model, CAPTIONS, tokenizer, batch_size=2), wanted, rtol=0, atol=1e-3)


def test_other_models_keep_their_tokenizer():
    tokenizer = tiny_tokenizer()
    assert padded_as_trained(tiny_cloob(), tokenizer) is tokenizer


def test_of_a_model_with_a_memory_the_base_counts():
    tokenizer = tiny_tokenizer(24)
    base = tiny_siglip(tokenizer)
    reco = RecoForZeroShot(RecoConfig(base_config=base.config), base)
    padded = padded_as_trained(reco, tokenizer)
    assert torch.equal(encode_texts(reco, CAPTIONS, padded), encode_texts(base, CAPTIONS, padded))
    assert padded is not tokenizer


def test_tokens_that_were_padded_to_the_longest_text_are_padded_on():
    tokenizer = tiny_tokenizer(24)
    config = tiny_siglip(tokenizer).config
    short = tokenizer(CAPTIONS[:2], padding=True, return_tensors="pt")
    whole = tokenizer(CAPTIONS[:2], padding="max_length", max_length=24, return_tensors="pt")
    input_ids, attention_mask = pad_tokens_as_trained(config, **short)
    assert torch.equal(input_ids, whole["input_ids"]) and torch.equal(attention_mask, whole["attention_mask"])
    assert pad_tokens_as_trained(config, whole["input_ids"], None)[0].shape == (2, 24)
    assert pad_tokens_as_trained(config, short["input_ids"], None)[1] is None
    assert pad_tokens_as_trained(tiny_cloob().config, **short)[0] is short["input_ids"]
