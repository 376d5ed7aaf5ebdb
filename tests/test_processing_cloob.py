# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""CloobProcessor: inputs of a model, and a round trip through a folder."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import CAPTIONS, tiny_processor
from transformers import AutoProcessor, AutoTokenizer, ConvNextImageProcessor, ViTImageProcessor
from transformers.models.auto.image_processing_auto import AutoImageProcessor

from hf_cloob import CloobProcessor


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))


def test_texts_are_padded_to_the_longest_of_the_batch():
    processor = tiny_processor()
    inputs = processor(text=CAPTIONS, images=[picture()] * 2, padding=True, return_tensors="pt")
    lengths = [len(ids) for ids in processor.tokenizer(CAPTIONS)["input_ids"]]
    assert inputs["input_ids"].shape == (5, max(lengths)) and max(lengths) < 77
    assert inputs["attention_mask"].sum(dim=1).tolist() == lengths
    assert inputs["pixel_values"].shape == (2, 3, 16, 16) and inputs["pixel_values"].dtype == torch.float32


def test_texts_or_images_alone_are_taken():
    processor = tiny_processor()
    assert set(processor(text=CAPTIONS[0], return_tensors="pt")) == {"input_ids", "attention_mask"}
    assert set(processor(images=picture(), return_tensors="pt")) == {"pixel_values"}


def test_it_comes_back_from_its_folder(tmp_path):
    processor = tiny_processor()
    processor.save_pretrained(tmp_path)
    expected = processor(text=CAPTIONS, images=picture(), padding=True, return_tensors="pt")
    for loaded in (CloobProcessor.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)):
        assert type(loaded) is CloobProcessor
        inputs = loaded(text=CAPTIONS, images=picture(), padding=True, return_tensors="pt")
        assert all(torch.equal(inputs[name], expected[name]) for name in expected)
    assert AutoTokenizer.from_pretrained(tmp_path)(CAPTIONS) == processor.tokenizer(CAPTIONS)
    assert AutoImageProcessor.from_pretrained(tmp_path).size == processor.image_processor.size


@pytest.mark.parametrize("image_processor", [ViTImageProcessor(), ConvNextImageProcessor(size={"shortest_edge": 384})])
def test_any_image_processor_of_transformers_can_be_used(image_processor, tmp_path):
    processor = CloobProcessor(image_processor, tiny_processor().tokenizer)
    processor.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert type(loaded.image_processor) is type(image_processor)
    expected = image_processor(picture(), return_tensors="pt")["pixel_values"]
    assert torch.equal(loaded(images=picture(), return_tensors="pt")["pixel_values"], expected)


def test_decoding_goes_to_the_tokenizer():
    processor = tiny_processor()
    ids = processor.tokenizer(CAPTIONS)["input_ids"]
    decoded = processor.batch_decode(ids, skip_special_tokens=True)
    assert [text.strip() for text in decoded] == CAPTIONS
