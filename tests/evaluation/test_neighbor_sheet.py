# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The sheet of neighbors: what was found is shown, what is new is framed, and bars are as long as scores."""

import numpy as np
import pytest
from PIL import Image

from hf_cloob.evaluation.neighbor_sheet import Explanation, Neighbor, neighbor_sheet

GREEN, ORANGE, BLUE, RED = (46, 139, 87), (217, 119, 6), (37, 99, 168), (200, 30, 30)
STAGES = ("base", "with memory")


def picture(color=RED, size=(48, 32)) -> Image.Image:
    return Image.new("RGB", size, color)


def explained(**changes) -> Explanation:
    fields = {
        "image": picture((9, 9, 9)),
        "name": "a picture",
        "labels": ["a cat", "a dog"],
        "scores": [[0.1, 0.6], [0.9, 0.4]],
        "found": [("found by the picture", [Neighbor(3, 0.5, "a tabby", picture())])],
    }
    return Explanation(**fields | changes)


def sheet(path, *explanations, stages=STAGES):
    return neighbor_sheet(explanations or [explained()], stages, path, "What was found")


def pixels(path, color) -> int:
    return int((np.asarray(Image.open(path).convert("RGB")) == color).all(axis=-1).sum())


def size(path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_each_neighbor_is_shown_with_its_picture(tmp_path):
    strip = [Neighbor(number, 0.5, "a tabby", picture()) for number in range(4)]
    one = pixels(sheet(tmp_path / "new" / "one.png"), RED)
    four = pixels(sheet(tmp_path / "four.png", explained(found=[("found", strip)])), RED)
    twice = pixels(sheet(tmp_path / "twice.png", explained(found=[("found", strip), ("found too", strip)])), RED)
    assert one > 1000 and four / one == pytest.approx(4, rel=0.05) and twice / one == pytest.approx(8, rel=0.05)


def test_an_entry_without_a_picture_shows_its_caption(tmp_path):
    def ink(caption) -> int:
        path = sheet(tmp_path / "a.png", explained(found=[("found", [Neighbor(3, 0.5, caption)])]))
        assert pixels(path, RED) == 0
        return int((np.asarray(Image.open(path).convert("L")) < 128).sum())

    assert ink("a tabby cat that sleeps on a sofa in the afternoon") > ink("a") + 100
    assert ink(None) != ink("a")


def test_only_new_entries_are_framed_in_orange(tmp_path):
    entries = [Neighbor(3, 0.5, "a tabby", picture()), Neighbor(4, 0.4, "a dog")]
    new = [Neighbor(3, 0.5, "a tabby", picture(), is_new=True), *entries[1:]]
    assert pixels(sheet(tmp_path / "old.png", explained(found=[("found", entries)])), ORANGE) == 0
    assert pixels(sheet(tmp_path / "new.png", explained(found=[("found", new)])), ORANGE) > 500


def test_bars_are_as_long_as_scores(tmp_path):
    def blue(first, second) -> int:
        scores = [[0.5, first], [0.5, second]]
        return pixels(sheet(tmp_path / "a.png", explained(scores=scores)), BLUE)

    assert blue(0.0, 0.0) == 0
    assert blue(0.8, 0.0) / blue(0.4, 0.0) == pytest.approx(2, rel=0.05)
    assert blue(0.4, 0.4) == 2 * blue(0.4, 0.0)


def test_right_labels_are_green(tmp_path):
    assert pixels(sheet(tmp_path / "a.png"), GREEN) == 0
    one = pixels(sheet(tmp_path / "b.png", explained(right_labels=["a cat"])), GREEN)
    both = pixels(sheet(tmp_path / "c.png", explained(right_labels=["a cat", "a dog"])), GREEN)
    assert 500 < one < both


def test_a_page_holds_several_explanations_one_below_the_other(tmp_path):
    one, two = (size(sheet(tmp_path / f"{n}.png", *[explained()] * n)) for n in (1, 2))
    assert one[0] == two[0] and one[1] < two[1] < 2 * one[1]


def test_strips_of_captions_take_less_room_than_strips_of_pictures(tmp_path):
    captions = explained(found=[("found", [Neighbor(3, 0.5, "a tabby")])])
    assert size(sheet(tmp_path / "a.png", captions))[1] < size(sheet(tmp_path / "b.png"))[1]


def test_formulas_and_long_names_are_plain_text(tmp_path):
    # matplotlib would raise for this one as a formula.
    text = "$x_{1$ " + "and so on " * 30
    entries = [Neighbor(2**62, -0.5, text, picture()), Neighbor(1, 0.2, text)]
    hard = explained(name=text, labels=[text, "a dog"], found=[(text, entries), ("nothing", [])])
    assert neighbor_sheet([hard], [text, text], tmp_path / "a.png", text).stat().st_size > 1000


@pytest.mark.parametrize(
    ("changes", "stages", "message"),
    [
        (None, STAGES, "shows 1 to 8 explanations; got 9"),
        ({}, (), "stages must be 1 to 3 names; got 0"),
        ({}, "abcd", "stages must be 1 to 3 names; got 4"),
        ({"labels": ["a cat"]}, STAGES, "explanation 0 has 1 labels and 2 rows of scores"),
        ({"labels": [], "scores": []}, STAGES, "explanation 0 has 0 labels and 0 rows of scores"),
        ({"scores": [[0.1], [0.9]]}, STAGES, "'a cat' has 1 scores for 2 stages"),
        ({"scores": [[0.1, 0.2], [0.9, 1.5]]}, STAGES, "'a dog' has the score 1.5"),
        ({"scores": [[0.1, float("nan")], [0.9, 0.1]]}, STAGES, "'a cat' has the score nan"),
        ({"found": [("found", [Neighbor(0, 0.5)] * 11)]}, STAGES, "'found' has 11 neighbors; .* at most 10"),
    ],
)
def test_what_cannot_be_drawn_is_explained(tmp_path, changes, stages, message):
    explanations = [explained()] * 9 if changes is None else [explained(**changes)]
    with pytest.raises(ValueError, match=message):
        neighbor_sheet(explanations, stages, tmp_path / "a.png", "title")
