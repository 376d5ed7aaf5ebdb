# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""CloobZeroShotPipeline on RECO folders: refined label embeddings, kept until the memory is another."""

import pytest
import torch
from PIL import Image, ImageDraw
from transformers import pipeline

from hf_cloob import CloobZeroShotPipeline, RecoForZeroShot
from tests.tiny_reco import FAMILIES, SIGLIP_CONTEXT, random_memory, save_base, stir, tiny_base_processor, unit_rows

TASK = "zero-shot-image-classification"
LABELS = ["a cat", "two dogs", "the sea", "a small house", "an apple"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("recos")
    paths = {family: str(folder / f"reco_{family}") for family in FAMILIES}
    for family, path in paths.items():
        model = stir(RecoForZeroShot.from_base(save_base(family, folder), num_neighbors=3))
        model.set_memory(random_memory(40, model.config.projection_dim))
        model.save_pretrained(path, save_memory=True)
        tiny_base_processor(family).save_pretrained(path)
    return paths


def pictures(number: int = 4) -> list[Image.Image]:
    images = []
    for index in range(number):
        image = Image.new("RGB", (40 + 7 * index, 36), (20 * index, 90, 255 - 30 * index))
        ImageDraw.Draw(image).ellipse((4 + index, 5, 25, 30 - index), fill=(250, 40 * index % 255, 30))
        images.append(image)
    return images


def scores_of(answers: list[list[dict]]) -> torch.Tensor:
    by_label = [{result["label"]: result["score"] for result in answer} for answer in answers]
    return torch.tensor([[scores[label] for label in LABELS] for scores in by_label])


@pytest.mark.parametrize("family", ["clip", "cloob"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_scores_equal_the_stock_pipelines(family, batch_size, folders):
    ours = pipeline(TASK, model=folders[family], pipeline_class=CloobZeroShotPipeline)
    stock = pipeline(TASK, model=folders[family])
    arguments = {"candidate_labels": LABELS, "batch_size": batch_size}
    expected = scores_of(stock(pictures(), **arguments))
    torch.testing.assert_close(scores_of(ours(pictures(), **arguments)), expected, rtol=0, atol=1e-5)
    stock.model.set_memory(None)
    assert (scores_of(stock(pictures(), **arguments)) - expected).abs().max() > 1e-2


@pytest.mark.parametrize("family", ["siglip", "cloob_sigmoid"])
@pytest.mark.parametrize("with_memory", [True, False])
def test_a_sigmoid_base_gives_each_label_its_own_probability(family, with_memory, folders):
    ours = pipeline(TASK, model=folders[family], pipeline_class=CloobZeroShotPipeline)
    if not with_memory:
        ours.model.set_memory(None)
    # Labels padded as SigLIP was trained.
    padding = {"padding": "max_length", "max_length": SIGLIP_CONTEXT} if family == "siglip" else {"padding": True}
    texts = ours.tokenizer(LABELS, return_tensors="pt", **padding)
    pixels = ours.image_processor(images=pictures(), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        expected = torch.sigmoid(ours.model(**texts, pixel_values=pixels).logits_per_image)
    found = scores_of(ours(pictures(), LABELS, hypothesis_template="{}"))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_refined_labels_are_kept_until_the_memory_or_its_use_changes(folders):
    ours = pipeline(TASK, model=folders["clip"], pipeline_class=CloobZeroShotPipeline)
    model, counts = ours.model, []
    model.base.text_model.register_forward_hook(lambda module, args, output: counts.append(1))

    def embedded() -> bool:
        before = len(counts)
        ours(pictures(1)[0], candidate_labels=LABELS)
        return len(counts) > before

    assert [embedded(), embedded()] == [True, False]
    ids = model.memory.add(unit_rows(1, 16, 50), unit_rows(1, 16, 51))
    assert [embedded(), embedded()] == [True, False]
    model.memory.remove(ids)
    assert [embedded(), embedded()] == [True, False]
    model.set_memory(random_memory(40, seed=20))
    assert [embedded(), embedded()] == [True, False]
    model.config.refine_text = False
    assert [embedded(), embedded()] == [True, False]
    model.set_memory(None)
    assert [embedded(), embedded()] == [True, False]


def test_a_new_entry_counts_in_the_next_answer(folders):
    ours = pipeline(TASK, model=folders["clip"], pipeline_class=CloobZeroShotPipeline)
    before = scores_of(ours(pictures(), LABELS))
    embeds = ours.model.base.get_image_features(
        ours.image_processor(images=pictures(), return_tensors="pt")["pixel_values"]
    ).pooler_output.detach()
    ids = ours.model.memory.add(torch.nn.functional.normalize(embeds, dim=1), unit_rows(4, 16, 51))
    assert (scores_of(ours(pictures(), LABELS)) - before).abs().amax(dim=1).min() > 1e-3
    ours.model.memory.remove(ids)
    assert torch.equal(scores_of(ours(pictures(), LABELS)), before)
