# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Rendering: white ground, kept aspect, one clear error."""

import sys

import numpy as np
import pytest

from hf_cloob.data.svg_rendering import iconify_svg, render_svg


def collection(body, **box):
    return {"icons": {"mark": {"body": body, **box}}, "width": 16, "height": 16}


def test_a_wide_drawing_is_centered_on_a_white_square():
    drawing = collection('<rect width="32" height="16" fill="#f00"/>', width=32)
    pixels = np.asarray(render_svg(iconify_svg(drawing, "mark"), 64))
    assert pixels.shape == (64, 64, 3)
    red = (pixels == (255, 0, 0)).all(axis=2)
    assert red[16:48].all()
    assert (pixels[:16] == 255).all() and (pixels[48:] == 255).all()


def test_a_box_that_starts_elsewhere_is_respected():
    drawing = collection('<rect x="100" y="50" width="16" height="16" fill="#00f"/>', left=100, top=50)
    assert (np.asarray(render_svg(iconify_svg(drawing, "mark"), 32)) == (0, 0, 255)).all()


def test_a_broken_body_is_a_value_error():
    with pytest.raises(ValueError):
        render_svg(iconify_svg(collection("<path d='M0 0"), "mark"), 32)


def test_a_name_the_collection_lacks_is_a_key_error():
    with pytest.raises(KeyError, match="other"):
        iconify_svg(collection(""), "other")


def test_without_resvg_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(ImportError, match=r"pip install hf_cloob\[emoji\]"):
        render_svg(iconify_svg(collection(""), "mark"), 32)
