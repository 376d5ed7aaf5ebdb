# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""encode_images and encode_texts: order, batches, forms of input and output, and mistakes."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import (
    CAPTIONS,
    tiny_cloob,
    tiny_config,
    tiny_processor,
    tiny_tokenizer,
    tokenized_text_config,
)
from torch.nn.functional import normalize
from transformers import CLIPModel

from hf_cloob import CloobModel
from hf_cloob.encoding import context_length


def noise_images(count: int = 7) -> list[Image.Image]:
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 256, (20 + 3 * i, 30, 3), dtype=np.uint8)) for i in range(count)]


def cloob_and_processor(context: int = 77):
    tokenizer = tiny_tokenizer(context)
    torch.manual_seed(0)
    model = CloobModel(tiny_config(text=tokenized_text_config(tokenizer)))
    return model, tiny_processor(tokenizer)


def test_texts_come_in_the_given_order_normalized_whatever_the_batch():
    model, processor = cloob_and_processor()
    model.eval()
    expected = []
    for caption in CAPTIONS:  # alone, without any padding
        inputs = processor.tokenizer(caption, return_tensors="pt")
        expected.append(normalize(model.get_text_features(**inputs).pooler_output)[0])
    for batch_size in (1, 2, 64):
        embeds = model.encode_texts(CAPTIONS, processor, batch_size=batch_size)
        assert embeds.dtype == torch.float32 and embeds.device.type == "cpu" and not embeds.requires_grad
        torch.testing.assert_close(embeds, torch.stack(expected))


def test_images_come_in_the_given_order_normalized_whatever_the_batch():
    model, processor = cloob_and_processor()
    model.eval()
    images = noise_images()
    pixel_values = processor.image_processor(images=images, return_tensors="pt")["pixel_values"]
    expected = normalize(model.get_image_features(pixel_values).pooler_output).detach()
    for batch_size in (1, 3, 64):
        torch.testing.assert_close(model.encode_images(images, processor, batch_size=batch_size), expected)


def test_embeddings_score_as_the_forward_pass_does():
    model, processor = cloob_and_processor()
    images = noise_images(3)
    inputs = processor(text=CAPTIONS, images=images, padding=True, return_tensors="pt")
    logits = model.eval()(**inputs).logits_per_image
    ours = 30 * model.encode_images(images, processor) @ model.encode_texts(CAPTIONS, processor).T
    torch.testing.assert_close(ours, logits)


def test_numpy_is_the_same_numbers():
    model, processor = cloob_and_processor()
    for encode, items in ((model.encode_texts, CAPTIONS), (model.encode_images, noise_images(2))):
        array = encode(items, processor, convert_to_numpy=True)
        assert isinstance(array, np.ndarray) and array.dtype == np.float32
        assert np.array_equal(array, encode(items, processor).numpy())


def test_the_result_can_be_trained_on():
    model, processor = cloob_and_processor()
    weight = torch.zeros(16, 3, requires_grad=True)
    for embeds in (model.encode_texts(CAPTIONS, processor), model.encode_images(noise_images(2), processor)):
        (embeds @ weight).sum().backward()


def test_training_mode_is_restored_even_after_an_error():
    model, processor = cloob_and_processor()
    for mode in (True, False):
        model.train(mode)
        model.encode_texts(CAPTIONS, processor)
        assert model.training is mode and model.text_model.training is mode
    model.train()
    with pytest.raises(Exception):  # noqa: B017 - whatever the image processor says
        model.encode_images([object()], processor)
    assert model.training


def test_parts_that_were_in_another_mode_come_back_in_it():
    model, processor = cloob_and_processor()
    model.train()
    model.text_model.eval()  # a frozen tower without dropout
    model.encode_texts(CAPTIONS, processor)
    assert model.training and model.vision_model.training and not model.text_model.training


def test_dropout_is_off_while_embedding():
    torch.manual_seed(0)
    text = {
        "model_type": "bert",
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 400,
    }
    model = CloobModel(tiny_config(text=text)).train()
    processor = tiny_processor()
    assert torch.equal(model.encode_texts(CAPTIONS, processor), model.encode_texts(CAPTIONS, processor))


def test_paths_arrays_and_grayscale_are_images_too(tmp_path):
    model, processor = cloob_and_processor()
    image = noise_images(1)[0]
    image.save(tmp_path / "a.png")
    expected = model.encode_images([image], processor)
    for form in (str(tmp_path / "a.png"), tmp_path / "a.png", np.asarray(image)):
        torch.testing.assert_close(model.encode_images([form], processor), expected)
    assert model.encode_images([image.convert("L"), image.convert("RGBA")], processor).shape == (2, 16)


def test_a_single_text_or_image_and_parts_of_a_processor_are_taken():
    model, processor = cloob_and_processor()
    text = model.encode_texts(CAPTIONS[0], processor)
    assert torch.equal(text, model.encode_texts(CAPTIONS[:1], processor.tokenizer)) and text.shape == (1, 16)
    image = noise_images(1)[0]
    expected = model.encode_images([image], processor.image_processor)
    assert torch.equal(model.encode_images(image, processor), expected)


def test_a_text_over_the_context_is_an_error_or_cut_on_request():
    model, processor = cloob_and_processor(context=12)
    long = "the sea and a house " * 10
    with pytest.raises(
        ValueError, match=r"'the sea and a house.* tokens, the text tower takes at most 12.*truncation"
    ):
        model.encode_texts([CAPTIONS[1], long], processor)
    embeds = model.encode_texts([long, long + "a cat"], processor, truncation=True)
    torch.testing.assert_close(embeds[0], embeds[1])


def test_the_towers_limit_counts_when_the_tokenizer_knows_none():
    config = tiny_config().text_config
    assert context_length(config) == 77
    assert context_length(config, tiny_tokenizer(20)) == 20
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = int(1e30)
    assert context_length(config, tokenizer) == 77


@pytest.mark.parametrize(
    ("items", "message"),
    [([], "Got no texts"), ([3], r"texts\[0\] must be a string, got int: 3"), (["a", None], r"texts\[1\].*NoneType")],
)
def test_what_is_no_text_is_named(items, message):
    model, processor = cloob_and_processor()
    with pytest.raises(ValueError, match=message):
        model.encode_texts(items, processor)


def test_no_image_and_an_impossible_batch_size_are_errors():
    model, processor = cloob_and_processor()
    with pytest.raises(ValueError, match="Got no images"):
        model.encode_images([], processor)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        model.encode_images(noise_images(1), processor, batch_size=0)


def test_a_bfloat16_model_gives_float32_embeddings_near_the_exact_ones():
    model, processor = cloob_and_processor()
    exact = model.encode_images(noise_images(3), processor)
    half = model.bfloat16().encode_images(noise_images(3), processor)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, exact, rtol=0, atol=0.03)


def test_progress_is_shown_when_asked_for(capsys):
    model, processor = cloob_and_processor()
    model.encode_texts(CAPTIONS, processor)
    assert "Embedding" not in capsys.readouterr().err
    model.encode_texts(CAPTIONS, processor, show_progress=True)
    assert "Embedding texts: 100%" in capsys.readouterr().err


def test_any_dual_encoder_of_transformers_can_be_used():
    from hf_cloob.encoding import encode_texts

    tokenizer = tiny_tokenizer()
    config = tiny_cloob().config
    torch.manual_seed(0)
    from transformers import CLIPConfig

    clip = CLIPModel(
        CLIPConfig(
            text_config=tokenized_text_config(tokenizer),
            vision_config=config.vision_config.to_dict(),
            projection_dim=16,
        )
    )
    assert encode_texts(clip, CAPTIONS, tokenizer).shape == (5, 16)
