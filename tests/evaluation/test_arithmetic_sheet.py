# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The page of arithmetic: right answers are green, and what does not fit is refused."""

import numpy as np
import pytest
from PIL import Image

from hf_cloob.evaluation.arithmetic_sheet import ArithmeticExample, arithmetic_sheet

GREEN, RED = (46, 139, 87), (200, 30, 30)


def example(right: tuple[bool, ...] = (True, False), **changes) -> ArithmeticExample:
    tile = (Image.new("RGB", (64, 32), RED), "a thing with a very long name $x$")
    fields = {
        "kind": "gender",
        "source": tile,
        "words": ("man", "a woman of many words"),
        "target": "woman",
        "found": [tile] * len(right),
        "scores": [0.5] * len(right),
        "right": right,
    }
    return ArithmeticExample(**fields | changes)


def green(path) -> int:
    return int((np.asarray(Image.open(path).convert("RGB")) == GREEN).all(axis=-1).sum())


def test_a_right_answer_is_framed_in_green_and_a_wrong_one_is_not(tmp_path):
    right = green(arithmetic_sheet([example()] * 3, tmp_path / "new" / "right.png", "Right"))
    wrong = green(arithmetic_sheet([example((False, False))] * 3, tmp_path / "wrong.png", "Wrong"))
    # The right answer's name stands in green on both.
    assert right > wrong + 1000 > 1000


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ValueError, match="1 to 32 examples; got 0"):
        arithmetic_sheet([], tmp_path / "a.png", "None")
    with pytest.raises(ValueError, match="1 to 32 examples; got 33"):
        arithmetic_sheet([example()] * 33, tmp_path / "a.png", "Many")
    with pytest.raises(ValueError, match=r"example 1 has \[3, 3, 3\] found images"):
        arithmetic_sheet([example(), example((True, False, False))], tmp_path / "a.png", "Unequal")
    with pytest.raises(ValueError, match=r"example 0 has \[2, 1, 2\] found images"):
        arithmetic_sheet([example(scores=[0.5])], tmp_path / "a.png", "Scores")
