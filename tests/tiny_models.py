# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Tiny towers, models, tokenizers and inputs that the tests of the core share."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, CLIPConfig, CLIPImageProcessor, CLIPModel, PreTrainedTokenizerFast

from hf_cloob import CloobConfig, CloobModel, CloobProcessor

WIDTH = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
TOKENS = {"vocab_size": 99, "pad_token_id": 0, "bos_token_id": 97, "eos_token_id": 98}
CLIP_TEXT = {"model_type": "clip_text_model", **WIDTH, **TOKENS, "max_position_embeddings": 77}
CLIP_VISION = {"model_type": "clip_vision_model", **WIDTH, "image_size": 16, "patch_size": 8}
CAPTIONS = ["a red apple on a table", "two dogs run", "the sea", "a small house with a blue door and a tree", "a cat"]


def tiny_config(text: dict | None = None, vision: dict | None = None, **fields) -> CloobConfig:
    return CloobConfig(text_config=text or CLIP_TEXT, vision_config=vision or CLIP_VISION, projection_dim=16, **fields)


def tiny_cloob(seed: int = 0, **fields) -> CloobModel:
    torch.manual_seed(seed)
    return CloobModel(tiny_config(**fields))


def tiny_clip(seed: int = 0) -> CLIPModel:
    torch.manual_seed(seed)
    tower = AutoConfig.for_model(**CLIP_VISION), AutoConfig.for_model(**CLIP_TEXT)
    return CLIPModel(CLIPConfig(vision_config=tower[0].to_dict(), text_config=tower[1].to_dict(), projection_dim=16))


def tiny_inputs(pairs: int = 5, seed: int = 0, image_size: int = 16) -> dict[str, torch.Tensor]:
    """Pairs of noise images and right-padded sentences of unequal length that start with 97 and end with 98."""
    generator = torch.Generator().manual_seed(seed)
    lengths = [3 + (2 * index) % 7 for index in range(pairs)]
    input_ids = torch.zeros(pairs, max(lengths), dtype=torch.long)
    for row, length in enumerate(lengths):
        input_ids[row, :length] = torch.randint(1, 97, (length,), generator=generator)
        input_ids[row, 0], input_ids[row, length - 1] = 97, 98
    return {
        "input_ids": input_ids,
        "attention_mask": (input_ids != 0).long(),
        "pixel_values": torch.randn(pairs, 3, image_size, image_size, generator=generator),
    }


def tiny_tokenizer(context_length: int = 77) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on a few captions: no hub, no vocabulary file."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        CAPTIONS, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    )
    backend.add_special_tokens(["<pad>", "<start>", "<end>"])
    ends = [(token, backend.token_to_id(token)) for token in ("<start>", "<end>")]
    backend.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        bos_token="<start>",
        eos_token="<end>",
        model_max_length=context_length,
        model_input_names=["input_ids", "attention_mask"],
    )


def tokenized_text_config(tokenizer: PreTrainedTokenizerFast) -> dict:
    """CLIP's tiny text tower for a tokenizer."""
    return CLIP_TEXT | {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": tokenizer.model_max_length,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def tiny_processor(tokenizer: PreTrainedTokenizerFast | None = None) -> CloobProcessor:
    size = {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}}
    return CloobProcessor(CLIPImageProcessor(**size), tokenizer or tiny_tokenizer())
