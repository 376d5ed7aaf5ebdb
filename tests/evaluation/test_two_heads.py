# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Two heads of one model: mixtures of their cosines as embeddings, and a weight chosen on selection data only."""

import pytest
import torch
from PIL import Image
from tiny_models import CAPTIONS, WIDTH, tiny_cloob, tiny_processor, tiny_tokenizer, tokenized_text_config
from torch import nn
from torch.nn import functional as F

from hf_cloob.evaluation.two_heads import TwoHeadEncoder, mixture_report

IMAGES = [Image.new("RGB", (20, 16), color) for color in ("red", "green", "blue", "white")]


@pytest.fixture
def model():
    return tiny_cloob(text=tokenized_text_config(tiny_tokenizer())).eval()


@pytest.fixture
def encoder(model):
    torch.manual_seed(1)
    return TwoHeadEncoder(model, *(nn.Linear(WIDTH["hidden_size"], 5) for _ in range(2)))


def head_embeds(encoder, model, processor):
    """h of images and texts, step by step."""
    with torch.no_grad():
        pixel_values = processor.image_processor(IMAGES, return_tensors="pt")["pixel_values"]
        images = encoder._model.image_head(model.pooled_image_states(pixel_values).pooler_output)
        tokens = processor.tokenizer(CAPTIONS, padding=True, return_tensors="pt")
        texts = encoder._model.text_head(model.pooled_text_states(**tokens).pooler_output)
    return F.normalize(images, dim=1), F.normalize(texts, dim=1)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_inner_products_are_the_mixture_of_both_cosines(encoder, model, weight):
    processor = tiny_processor()
    mixture = encoder.mixture(weight)
    images, texts = mixture.encode_images(IMAGES, processor), mixture.encode_texts(CAPTIONS, processor)
    z_cosines = model.encode_images(IMAGES, processor) @ model.encode_texts(CAPTIONS, processor).T
    h_images, h_texts = head_embeds(encoder, model, processor)
    torch.testing.assert_close(images @ texts.T, weight * z_cosines + (1 - weight) * h_images @ h_texts.T)
    torch.testing.assert_close(images.norm(dim=1), torch.ones(len(IMAGES)))
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(len(CAPTIONS)))


def test_each_picture_and_text_runs_once_for_all_mixtures(encoder, model):
    processor, runs = tiny_processor(), []
    model.vision_model.register_forward_pre_hook(
        lambda module, args, kwargs: runs.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    model.text_model.register_forward_pre_hook(
        lambda module, args, kwargs: runs.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    for weight in (0.0, 0.5, 1.0):
        # New objects with the same content, as a dataset decodes them.
        encoder.mixture(weight).encode_images([image.copy() for image in IMAGES] * 2, processor)
        encoder.mixture(weight).encode_texts(CAPTIONS * 2, processor)
    assert runs == [len(IMAGES), len(CAPTIONS)]


def test_the_weight_is_chosen_on_selection_figures_and_the_report_measures_that_one(encoder):
    asked = []

    def evaluate(mixture, final):
        asked.append((mixture.weight, final))
        selected = 1 - abs(mixture.weight - 0.7)
        # The test figure would choose otherwise.
        figures = {"selection_top1": round(selected, 6), "selection_num_images": 3}
        return figures | ({"test_top1": 1 - mixture.weight} if final else {})

    report = mixture_report(encoder, evaluate)
    assert report == pytest.approx(
        {
            "mixture_weight": 0.7,
            "h_selection_top1": 0.3,
            "h_test_top1": 1.0,
            "mixture_selection_top1": 1.0,
            "mixture_test_top1": 0.3,
        }
    )
    assert [final for _, final in asked] == [False] * 11 + [True] * 2


def test_of_equal_weights_the_one_nearest_to_z_is_chosen(encoder):
    report = mixture_report(encoder, lambda mixture, final: {"selection_top1": 0.5})
    assert report["mixture_weight"] == 1.0


@pytest.mark.parametrize("weight", [-0.1, 1.1])
def test_a_weight_out_of_range_is_named(encoder, weight):
    with pytest.raises(ValueError, match=r"must be in \[0, 1\], got"):
        encoder.mixture(weight)
