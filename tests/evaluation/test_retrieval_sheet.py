# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The page of retrieval examples: right answers are green in both directions, in the order of their cosine."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from hf_cloob.evaluation.retrieval_sheet import _nearest, retrieval_sheet

GREEN, RED = (46, 139, 87), (200, 30, 30)
TEXTS = ["a cat", "another cat that has a very long caption for its narrow column", "a dog", "$x_{1}$"]


def sheet(path, wrong=False, **changes):
    image_embeds = torch.eye(3)
    text_embeds = torch.eye(3)[[0, 0, 1, 2]]
    arguments = {
        "images": [Image.new("RGB", (64, 32), RED) for _ in range(3)],
        "texts": TEXTS,
        "image_embeds": image_embeds,
        "text_embeds": text_embeds[[2, 2, 3, 0]] if wrong else text_embeds,
        "text_to_image": torch.tensor([0, 0, 1, 2]),
        "path": path,
        "title": "Both ways",
        "image_queries": [0, 2],
        "text_queries": [1, 2],
        "k": 1,
    }
    return retrieval_sheet(**arguments | changes)


def pixels(path, color) -> int:
    return int((np.asarray(Image.open(path).convert("RGB")) == color).all(axis=-1).sum())


def test_answers_come_by_falling_cosine():
    generator = torch.Generator().manual_seed(0)
    queries, gallery = (normalize(torch.randn(n, 8, generator=generator), dim=-1) for n in (3, 20))
    scores = queries @ gallery.T
    for row, answers in enumerate(_nearest(queries, gallery, 5)):
        expected = sorted(range(20), key=lambda index: -scores[row, index])[:5]
        assert [index for index, _ in answers] == expected
        assert [score for _, score in answers] == pytest.approx(scores[row, expected].tolist())


def test_right_answers_are_green_and_wrong_ones_are_not(tmp_path):
    assert pixels(sheet(tmp_path / "new" / "right.png"), GREEN) > 1000
    assert pixels(sheet(tmp_path / "wrong.png", wrong=True), GREEN) == 0


def test_a_right_text_is_green_without_a_right_picture(tmp_path):
    # Captions 0 and 3 belong to the queried images; the queried texts 1 and 2 find a wrong picture.
    text_embeds = torch.eye(3)[[0, 1, 0, 2]]
    path = sheet(tmp_path / "a.png", text_embeds=text_embeds)
    assert 0 < pixels(path, GREEN) < 500


def test_the_page_shows_each_query_and_k_pictures_a_text(tmp_path):
    one, three = sheet(tmp_path / "a.png", wrong=True), sheet(tmp_path / "b.png", wrong=True, k=3)
    # Two queried pictures, and one or three answers for each of two texts.
    assert pixels(three, RED) / pixels(one, RED) == pytest.approx(8 / 4, rel=0.02)


def test_only_pictures_of_the_page_are_read(tmp_path):
    class Pictures(list):
        read = []

        def __getitem__(self, index):
            self.read.append(index)
            return super().__getitem__(index)

    images = Pictures(Image.new("RGB", (8, 8), RED) for _ in range(3))
    sheet(tmp_path / "a.png", images=images, image_queries=[0], text_queries=[1])
    assert set(images.read) == {0}


def test_more_answers_than_there_are_texts_or_pictures_show_all_of_them(tmp_path):
    assert sheet(tmp_path / "a.png", k=50).stat().st_size > 1000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"texts": ["a"]}, "1 texts for 4 text_embeds"),
        ({"image_embeds": torch.eye(4)[:3]}, "must share one projection_dim"),
        ({"image_embeds": 2 * torch.eye(3)}, "image_embeds must have L2-normalized rows"),
        ({"text_to_image": torch.tensor([0, 0, 1, 3])}, r"text_to_image\[3\] is 3"),
        ({"image_queries": []}, "image_queries must name 1 to 24 rows; got 0"),
        ({"text_queries": [4]}, r"text_queries\[0\] is 4; the texts are 0 to 3"),
        ({"k": 0}, "k must be at least 1; got 0"),
    ],
)
def test_what_cannot_be_drawn_is_explained(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        sheet(tmp_path / "sheet.png", **changes)
