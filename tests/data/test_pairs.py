# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A sample is a pure function of its key; broken pictures are told apart and never end a run."""

import io
import pickle
import random
from collections import Counter

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from hf_cloob.data.collator import ImageTextCollator
from hf_cloob.data.image_augmentation import EvaluationTransform, TrainingTransform
from hf_cloob.data.pairs import ImageTextPairs, StrongViews, normalize_caption, sample_seed
from hf_cloob.data.sampler import NoDuplicatesBatchSampler
from hf_cloob.data.strong_image_augmentation import StrongTransform
from hf_cloob.data.text_augmentation import StrongTextAugmentation, WeakTextAugmentation
from hf_cloob.data.tokenizers import train_bpe_tokenizer

HALF = (0.5, 0.5, 0.5)
EVALUATION = EvaluationTransform(32, HALF, HALF)
TRAINING = TrainingTransform(32, HALF, HALF, rotation=15, zoom=0.1, brightness=0.3, hue=0.1)
STRONG_TEXT = StrongTextAugmentation({"face": ("countenance",), "with": ("by",)}, weak=WeakTextAugmentation(0.2))
STRONG = StrongViews(2, StrongTransform(32, HALF, HALF), STRONG_TEXT)


def broken_pairs():
    file = io.BytesIO()
    Image.effect_noise((16, 16), 50).save(file, "PNG")
    good = file.getvalue()
    images = [good, b"no picture", good[: len(good) // 2], None, good]
    rows = {
        "image": [None if image is None else {"bytes": image, "path": None} for image in images],
        "captions": [["a"], ["b"], ["c"], ["d"], ["e"]],
    }
    features = datasets.Features({"image": datasets.Image(), "captions": datasets.List(datasets.Value("string"))})
    return ImageTextPairs(datasets.Dataset.from_dict(rows, features=features), EVALUATION)


def test_a_sample_depends_on_its_key_and_on_nothing_before(emoji):
    one, other = (ImageTextPairs(emoji["train"], TRAINING, seed=3) for _ in range(2))
    other[0, 7], other[5, 1]
    random.seed(1)
    first, second = one[4, 100], other[4, 100]
    assert torch.equal(first["pixel_values"], second["pixel_values"])
    assert (first["text"], first["index"]) == (second["text"], 100)


def test_epochs_and_seeds_change_the_augmentation_and_the_captions(emoji):
    pairs = ImageTextPairs(emoji["train"], TRAINING, seed=3)
    other_seed = ImageTextPairs(emoji["train"], TRAINING, seed=4)
    assert not torch.equal(pairs[0, 100]["pixel_values"], pairs[1, 100]["pixel_values"])
    assert not torch.equal(pairs[0, 100]["pixel_values"], other_seed[0, 100]["pixel_values"])
    index = next(i for i, captions in enumerate(emoji["train"]["captions"]) if len(captions) > 3)
    assert {pairs[epoch, index]["text"] for epoch in range(60)} == set(emoji["train"][index]["captions"])


def test_augmented_captions_and_strong_views_leave_the_pictures_as_they_are(emoji):
    plain = ImageTextPairs(emoji["train"], TRAINING, seed=3)
    augmented = ImageTextPairs(emoji["train"], TRAINING, 3, text_transform=STRONG_TEXT, strong_views=STRONG)
    texts = []
    for index in range(0, 300, 3):
        assert torch.equal(plain[1, index]["pixel_values"], augmented[1, index]["pixel_values"])
        assert plain.duplicate_keys(1, index) == augmented.duplicate_keys(1, index)
        texts.append((plain[1, index]["text"], augmented[1, index]["text"]))
    assert 10 < sum(before != after for before, after in texts) < 90


def test_strong_views_are_drawn_apart_by_the_key_alone(emoji):
    one, other = (ImageTextPairs(emoji["train"], EVALUATION, seed=3, strong_views=STRONG) for _ in range(2))
    index = next(i for i, captions in enumerate(emoji["train"]["captions"]) if len(captions[0].split()) > 5)
    other[0, 7]
    sample, again = one[4, index], other[4, index]
    assert sample["strong_pixel_values"].shape == (2, 3, 32, 32) and len(sample["strong_texts"]) == 2
    assert torch.equal(sample["strong_pixel_values"], again["strong_pixel_values"])
    assert sample["strong_texts"] == again["strong_texts"]
    assert not torch.equal(*sample["strong_pixel_values"])
    assert not torch.equal(sample["strong_pixel_values"], one[5, index]["strong_pixel_values"])
    captions = ImageTextPairs(emoji["train"], EVALUATION, 3, 1.0, strong_views=STRONG)
    assert len({text for epoch in range(20) for text in captions[epoch, index]["strong_texts"]}) > 5


def test_without_a_text_transform_strong_views_have_the_drawn_caption(emoji):
    views = StrongViews(3, canvas=lambda image: torch.zeros(3, 4, 4, dtype=torch.uint8))
    sample = ImageTextPairs(
        emoji["train"], EVALUATION, text_transform=lambda text, rng: text.upper(), strong_views=views
    )[2, 9]
    assert sample["text"] == sample["strong_texts"][0].upper()
    assert len(set(sample["strong_texts"])) == 1 and len(sample["strong_texts"]) == 3
    assert sample["strong_canvas"].shape == (3, 4, 4) and "strong_pixel_values" not in sample


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"number": 0, "transform": EVALUATION}, "number of strong views must be at least 1, got 0"),
        ({"number": 2}, "either a transform or a canvas"),
        ({"number": 2, "transform": EVALUATION, "canvas": EVALUATION}, "either a transform or a canvas"),
    ],
)
def test_strong_views_that_cannot_be_made_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        StrongViews(**wrong)


def test_the_sampler_is_told_the_caption_that_is_then_drawn(emoji):
    pairs = ImageTextPairs(emoji["train"], EVALUATION, seed=5)
    for index in range(0, len(pairs), 97):
        for epoch in range(3):
            caption, concept = pairs.duplicate_keys(epoch, index)
            assert caption == "caption:" + normalize_caption(pairs[epoch, index]["text"])
            assert concept == "concept:" + emoji["train"][index]["concept"]


def test_the_first_caption_alone_is_drawn_when_asked(emoji):
    pairs = ImageTextPairs(emoji["selection"], EVALUATION, first_caption_share=1.0)
    assert [pairs[9, index]["text"] for index in range(20)] == emoji["selection"]["label"][:20]


def test_the_first_caption_has_its_share_and_the_others_divide_the_rest(emoji):
    index = next(index for index, captions in enumerate(emoji["train"]["captions"]) if len(captions) == 4)
    pairs = ImageTextPairs(emoji["train"], EVALUATION, first_caption_share=0.7)
    drawn = Counter(pairs.duplicate_keys(epoch, index)[0] for epoch in range(4000))
    counts = [drawn["caption:" + normalize_caption(caption)] for caption in emoji["train"]["captions"][index]]
    assert sum(counts) == 4000
    # Four standard deviations of a binomial with 4,000 draws.
    for count, share in zip(counts, (0.7, 0.1, 0.1, 0.1), strict=True):
        assert abs(count - 4000 * share) < 4 * (4000 * share * (1 - share)) ** 0.5


def test_a_share_outside_zero_to_one_is_refused(emoji):
    with pytest.raises(ValueError, match="first_caption_share must be from 0 to 1, got 1.5"):
        ImageTextPairs(emoji["selection"], EVALUATION, first_caption_share=1.5)


def test_kept_pictures_give_the_same_samples(emoji):
    plain = ImageTextPairs(emoji["selection"], TRAINING)
    kept = ImageTextPairs(emoji["selection"], TRAINING, keep_decoded=True)
    for epoch in range(2):
        assert torch.equal(plain[epoch, 3]["pixel_values"], kept[epoch, 3]["pixel_values"])


def test_unreadable_and_missing_pictures_are_counted_by_cause():
    pairs = broken_pairs()
    batch = ImageTextCollator(train_bpe_tokenizer(["a b c d e"], 300), 8)([pairs[0, index] for index in range(5)])
    assert batch["index"].tolist() == [0, 4]
    assert batch["pixel_values"].shape == (2, 3, 32, 32)
    assert sum(batch["skipped"].values()) == 3
    assert batch["skipped"]["missing image"] == 1
    assert batch["skipped"]["not an image"] == 1


def test_counts_and_samples_survive_the_workers_of_a_loader(emoji):
    pairs = ImageTextPairs(emoji["train"], TRAINING, 1, text_transform=STRONG_TEXT, strong_views=STRONG)
    collator = ImageTextCollator(train_bpe_tokenizer(emoji["train"]["label"], 400), 16)
    batches = []
    for workers in (0, 2):
        sampler = NoDuplicatesBatchSampler(len(pairs), pairs.duplicate_keys, batch_size=8, num_steps=3)
        loader = torch.utils.data.DataLoader(pairs, batch_sampler=sampler, collate_fn=collator, num_workers=workers)
        batches.append(list(loader))
    for alone, helped in zip(*batches, strict=True):
        tensors = [name for name, value in alone.items() if isinstance(value, torch.Tensor)]
        assert len(tensors) == 7 and all(torch.equal(alone[name], helped[name]) for name in tensors)
        assert (alone["text"], alone["strong_text"]) == (helped["text"], helped["strong_text"])
        assert alone["skipped"] == helped["skipped"] == {}


def test_broken_pairs_and_their_transform_can_be_pickled():
    copy = pickle.loads(pickle.dumps(broken_pairs()))
    assert copy[0, 1]["skipped"] == "not an image"


def test_missing_columns_and_empty_captions_are_refused():
    with pytest.raises(ValueError, match=r"lack the columns \['image'\]; there are \['captions'\]"):
        ImageTextPairs(datasets.Dataset.from_dict({"captions": [["a"]]}), EVALUATION)
    rows = datasets.Dataset.from_dict({"image": [b"", b""], "captions": [["a"], [" "]]})
    with pytest.raises(ValueError, match="1 rows have no caption, the first is row 1"):
        ImageTextPairs(rows, EVALUATION)


def test_captions_are_compared_without_case_spaces_and_closing_points():
    assert normalize_caption("  A  Red\tApple. ") == normalize_caption("a red apple")
    assert normalize_caption("red apple") != normalize_caption("green apple")


def test_neighboring_keys_have_unrelated_seeds():
    seeds = [sample_seed(seed, epoch, index) for seed in range(3) for epoch in range(20) for index in range(100)]
    assert len(set(seeds)) == len(seeds)
    bits = np.array([[seed >> bit & 1 for bit in range(64)] for seed in seeds])
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.05
