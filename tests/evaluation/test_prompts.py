# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Templates are filled as written, and a template that would lose the name is refused."""

import pytest

from hf_cloob.evaluation.prompts import EMOJI_TEMPLATES, fill_templates


def test_names_are_written_into_strings_and_callables_in_order():
    filled = fill_templates(["cat", "rocket"], ["{}", "a picture of {}.", lambda name: name.upper()])
    assert filled == [["cat", "a picture of cat.", "CAT"], ["rocket", "a picture of rocket.", "ROCKET"]]


def test_other_braces_in_names_and_templates_are_plain_text():
    assert fill_templates(["{0} face", "a{}b"], ["{x} {}"]) == [["{x} {0} face"], ["{x} a{}b"]]


def test_emoji_templates_start_with_the_bare_name():
    assert fill_templates(["cat"], EMOJI_TEMPLATES)[0][0] == "cat"
    assert len(set(fill_templates(["cat"], EMOJI_TEMPLATES)[0])) == len(EMOJI_TEMPLATES)


@pytest.mark.parametrize(
    ("class_names", "templates", "message"),
    [
        (["cat"], ["{}", "a picture"], r"templates\[1\] is 'a picture'"),
        (["cat"], ["{} and {}"], "exactly one {}"),
        (["cat"], [None], r"templates\[0\] is None"),
        (["cat"], [], "templates is empty"),
        (["cat"], "a picture of {}", "templates must be a list"),
        ([], ["{}"], "class_names is empty"),
        ("cat", ["{}"], "class_names must be a list"),
        (["cat", " "], ["{}"], r"class_names\[1\] is ' '"),
        (["cat", 3], ["{}"], r"class_names\[1\] is 3"),
        (["cat"], [lambda name: None], r"templates\[0\] returned None for 'cat'"),
    ],
)
def test_a_bad_name_or_template_is_named(class_names, templates, message):
    with pytest.raises(ValueError, match=message):
        fill_templates(class_names, templates)
