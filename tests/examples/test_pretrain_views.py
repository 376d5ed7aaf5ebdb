# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""From flags to views: the pair's augmentation, strong views from the workers or from the device, and the loader."""

import json
import types

import pretrain_views
import pytest
import torch
from pretrain import PretrainArguments
from pretrain_data import build_loader, build_processor

from hf_cloob.data.batched_augmentation import AugmentedBatches
from hf_cloob.data.emoji import load_emoji
from hf_cloob.data.image_augmentation import TrainingTransform
from hf_cloob.data.strong_image_augmentation import StrongTransform
from hf_cloob.data.text_augmentation import StrongTextAugmentation, WeakTextAugmentation
from hf_cloob.data.tokenizers import train_bpe_tokenizer

ALONE = types.SimpleNamespace(process_index=0, num_processes=1, device=torch.device("cpu"))
MEAN = STD = (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def train_data():
    return load_emoji()["train"].select(range(0, 1000, 5))


@pytest.fixture
def synonyms(monkeypatch):
    """A few synonyms in place of WordNet, whose reader takes seconds to load; tests/data/test_wordnet.py has it."""
    monkeypatch.setattr("hf_cloob.data.wordnet.synonym_table", lambda words, folder: {"face": ("countenance",)})


def arguments(**changes) -> PretrainArguments:
    return PretrainArguments(image_size=32, batch_size=8, max_train_steps=4, num_workers=0, **changes)


def batches(train_data, args, first_step=0) -> list[dict]:
    tokenizer = train_bpe_tokenizer(train_data["label"], 400)
    _, transforms = build_processor(args, tokenizer)
    return list(build_loader(args, train_data, tokenizer, transforms, 16, first_step, ALONE))


def test_the_defaults_are_a_plain_pair_and_the_papers_strong_set():
    transforms = pretrain_views.build_image_transforms(arguments(), 32, MEAN, STD)
    assert isinstance(transforms.pair, TrainingTransform)
    assert transforms.strong == StrongTransform(32, MEAN, STD)
    assert pretrain_views.build_views(arguments(), transforms.strong, list) == {
        "text_transform": None,
        "strong_views": None,
    }


def test_the_pair_itself_can_have_the_strong_set_with_the_affine_map_of_its_flags():
    transforms = pretrain_views.build_image_transforms(
        arguments(image_augmentation="strong", rotation=9.0), 32, MEAN, STD
    )
    assert transforms.pair is transforms.strong and transforms.pair.rotation == 9.0


def test_each_text_flag_augments_its_own_captions(synonyms):
    def views(**changes):
        return pretrain_views.build_views(arguments(**changes), StrongTransform(32, MEAN, STD), lambda: ["a face"])

    assert isinstance(views(text_augmentation="weak")["text_transform"], WeakTextAugmentation)
    strong = views(text_augmentation="strong")["text_transform"]
    assert isinstance(strong, StrongTextAugmentation) and strong.synonyms == {"face": ("countenance",)}
    two = views(num_strong_views=2)
    assert two["text_transform"] is None and isinstance(two["strong_views"].text_transform, StrongTextAugmentation)
    assert views(num_strong_views=2, strong_text_augmentation="none")["strong_views"].text_transform is None


def test_without_npm_the_flag_is_named(monkeypatch):
    def fail(words, folder):
        raise RuntimeError("npm is needed")

    monkeypatch.setattr("hf_cloob.data.wordnet.synonym_table", fail)
    with pytest.raises(ValueError, match="text_augmentation strong: npm is needed"):
        pretrain_views.build_views(arguments(text_augmentation="strong"), None, list)


def test_strong_views_come_with_every_batch_and_change_nothing_else(train_data, synonyms):
    plain, viewed = batches(train_data, arguments()), batches(train_data, arguments(num_strong_views=2))
    for before, after in zip(plain, viewed, strict=True):
        assert torch.equal(before["pixel_values"], after["pixel_values"]) and before["text"] == after["text"]
        assert after["strong_pixel_values"].shape == (8, 2, 3, 32, 32)
        assert after["strong_input_ids"].shape == after["strong_attention_mask"].shape
        assert after["strong_input_ids"].shape[:2] == (8, 2) and len(after["strong_text"]) == 8
    assert not any(name.startswith("strong") for name in plain[0])


def test_a_loader_that_augments_on_the_device_resumes_where_it_stopped(train_data, synonyms):
    args = arguments(num_strong_views=2, augment_on_device=True, gradient_accumulation_steps=2)
    run, resumed = batches(train_data, args), batches(train_data, args, first_step=3)
    assert len(run) == 8 and len(resumed) == 2
    for before, after in zip(run[6:], resumed, strict=True):
        assert torch.equal(before["strong_pixel_values"], after["strong_pixel_values"])
        assert before["strong_pixel_values"].shape == (8, 2, 3, 32, 32)
    loader = pretrain_views.augmented_on_device(args, [], StrongTransform(32, MEAN, STD), 0, ALONE)
    assert isinstance(loader, AugmentedBatches)
    assert pretrain_views.augmented_on_device(arguments(), [], None, 0, ALONE) == []


def test_a_run_trains_on_strongly_augmented_pairs(finished, train, synonyms, tmp_path):
    train(output_dir=tmp_path, image_augmentation="strong", text_augmentation="strong")
    plain, augmented = (json.loads((folder / "metrics.json").read_text()) for folder in (finished, tmp_path))
    assert augmented["steps"] == plain["steps"] == 6
    losses = [(folder / "train_log.jsonl").read_text().splitlines()[0] for folder in (finished, tmp_path)]
    assert json.loads(losses[0])["loss"] != json.loads(losses[1])["loss"]
