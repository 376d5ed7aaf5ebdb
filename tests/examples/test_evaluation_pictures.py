# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The pictures of evaluate.py show the embeddings' own answers, read few images, and never cost the figures."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from evaluation_pictures import MOST_CLASSES, classification_pictures, draw_pictures, retrieval_pictures
from PIL import Image
from torch.nn.functional import normalize

GREEN, ORANGE = (46, 139, 87), (217, 119, 6)
NUM_CLASSES = 20
NAMES = [f"class {number}" for number in range(NUM_CLASSES)]
TARGETS = torch.arange(NUM_CLASSES).repeat_interleave(3)


class Images(list):
    """Notes which images are read."""

    def __init__(self):
        super().__init__(Image.new("RGB", (16, 12), (200, 30, 30)) for _ in TARGETS)
        self.read = set()

    def __getitem__(self, index):
        self.read.add(index)
        return super().__getitem__(index)


@pytest.fixture
def model():
    return SimpleNamespace(logit_scale=torch.tensor(2.0))


def shares(path, color) -> float:
    page = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return float((np.abs(page - color).max(axis=-1) < 8).mean())


def embeds(shift: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images on their own class (shift 0) or on another one, beside a little of the neighbor."""
    class_embeds = torch.eye(NUM_CLASSES)
    images = class_embeds[(TARGETS + shift) % NUM_CLASSES] + 0.5 * class_embeds[(TARGETS + 1) % NUM_CLASSES]
    return normalize(images, dim=-1), class_embeds


def test_right_answers_are_green_and_wrong_ones_are_not(model, tmp_path):
    for shift in (0, 7):
        image_embeds, class_embeds = embeds(shift)
        pictures = classification_pictures(model, image_embeds, class_embeds, TARGETS, NAMES, Images(), "A suite")
        folder = tmp_path / str(shift)
        assert draw_pictures(pictures, folder) == ["contact_sheet.png", "confusion.png"]
    assert shares(tmp_path / "0" / "contact_sheet.png", GREEN) > 10 * shares(
        tmp_path / "7" / "contact_sheet.png", GREEN
    )


def test_only_the_images_on_a_page_are_read(model, tmp_path):
    image_embeds, class_embeds = embeds(0)
    images = Images()
    pictures = classification_pictures(model, image_embeds, class_embeds, TARGETS, NAMES, images, "A suite")
    assert not images.read
    pictures["contact_sheet.png"](tmp_path / "sheet.png")
    assert len(images.read) == 12
    images.read.clear()
    pictures["confusion.png"](tmp_path / "confusion.png")
    # The first picture of each class that is shown.
    assert len(images.read) == 16 and all(row % 3 == 0 for row in images.read)


def test_retrieval_is_drawn_both_ways(tmp_path):
    image_embeds, _ = embeds(0)
    texts = [f"text {number}" for number in range(len(TARGETS))]
    owners = torch.arange(len(TARGETS))
    pictures = retrieval_pictures(image_embeds, image_embeds, owners, Images(), texts, "Pairs")
    assert draw_pictures(pictures, tmp_path) == ["retrieval.png"]
    assert shares(tmp_path / "retrieval.png", GREEN) > 0


def test_a_model_without_a_scale_and_few_classes_are_drawn(tmp_path):
    image_embeds = normalize(torch.tensor([[1.0, 0.9], [0.9, 1.0]]), dim=-1)
    parts = image_embeds, torch.eye(2), torch.arange(2), ["cat", "dog"], Images()
    pictures = classification_pictures(SimpleNamespace(), *parts, "Two")
    assert draw_pictures(pictures, tmp_path) == ["contact_sheet.png", "confusion.png"]


def test_a_picture_that_cannot_be_drawn_is_named_and_the_others_are_drawn(tmp_path, capsys):
    certain = SimpleNamespace(logit_scale=torch.tensor(9.0))
    pictures = classification_pictures(
        certain, torch.eye(3), torch.eye(3), torch.arange(3), ["cat", "dog", "sun"], Images(), "Sure"
    )
    assert draw_pictures(dict(reversed(pictures.items())), tmp_path) == ["contact_sheet.png"]
    assert "No confusion.png: no two classes with pictures are confused" in capsys.readouterr().out


def test_the_confusion_of_very_many_classes_is_left_out(model):
    names = ["a class"] * (MOST_CLASSES + 1)
    parts = torch.eye(2), torch.zeros(len(names), 2), torch.arange(2), names, Images()
    assert list(classification_pictures(model, *parts, "Many")) == ["contact_sheet.png"]
