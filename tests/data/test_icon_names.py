# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Base names of icons, lemmas, and what counts as withheld."""

import pytest

from hf_cloob.data.emoji_packages import EMOJIBASE
from hf_cloob.data.emoji_protocol import WITHHELD_SUBGROUPS
from hf_cloob.data.flag_names import CAPTION_TEMPLATES, flag_names
from hf_cloob.data.icon_names import base_names, is_withheld, lemmas, withheld_names
from hf_cloob.data.npm_packages import default_cache_dir, fetch_packages, read_json


@pytest.fixture(scope="module")
def withheld():
    base = fetch_packages([EMOJIBASE], default_cache_dir())[EMOJIBASE.name]
    emojis, names = read_json(base, "en/data.json"), read_json(base, "meta/groups.json")
    flags = flag_names(emojis, names, read_json(base, "en/shortcodes/emojibase.json"))
    return withheld_names(emojis, names, WITHHELD_SUBGROUPS, flags)


def test_styles_and_numbers_of_a_drawing_share_its_base_name():
    names = ["home", "home-outline", "home-2", "home-2-outline", "home-variant", "home-two", "home-plus"]
    assert base_names(names) == dict.fromkeys(names[:-1], "home") | {"home-plus": "home-plus"}


def test_a_word_that_looks_like_a_style_stays_without_the_rest_being_a_name():
    assert base_names(["shape-outline", "traffic-light"]) == {
        "shape-outline": "shape-outline",
        "traffic-light": "traffic-light",
    }
    styles = ["thin", "light", ""]
    names = ["traffic-light", "traffic-light-light", "traffic-light-thin"]
    assert set(base_names(names, styles).values()) == {"traffic-light"}


def test_numbers_go_even_where_only_numbered_drawings_exist():
    assert base_names(["bear-1", "bear-2", "step-01-02"]) == {"bear-1": "bear", "bear-2": "bear", "step-01-02": "step"}


def test_where_every_icon_carries_a_style_it_goes_without_a_further_look():
    names = ["add-20-filled", "add-24-regular", "text-bold-20-filled", "phone-bold-20-filled"]
    bases = base_names(names, ["20-filled", "24-regular"])
    assert list(bases.values()) == ["add", "add", "text-bold", "phone-bold"]


def test_the_longest_style_goes():
    assert base_names(["moon-bold-duotone", "moon-bold"], ["bold", "duotone", "bold-duotone"]) == {
        "moon-bold-duotone": "moon",
        "moon-bold": "moon",
    }


@pytest.mark.parametrize(
    ("plural", "singular"),
    [
        ("clouds", "cloud"),
        ("cherries", "cherry"),
        ("glasses", "glass"),
        ("boxes", "box"),
        ("churches", "church"),
        ("faces", "face"),
        ("houses", "house"),
        ("shoes", "shoe"),
        ("heroes", "hero"),
    ],
)
def test_plurals_in_s_and_es_have_the_lemma_of_their_singular(plural, singular):
    assert lemmas(plural) == lemmas(singular) == [singular]


def test_words_that_end_in_s_by_nature_stay():
    assert lemmas("Bus-gas_cross iris") == ["bus", "gas", "cross", "iris"]


def test_accents_and_signs_do_not_make_another_word():
    assert lemmas("Piñata & Café-2") == ["pinata", "cafe", "2"]


@pytest.mark.parametrize(
    "name",
    [
        "volcano",  # a withheld concept
        "mountains",  # a tag of one, in the plural
        "cloud-lightning",
        "erupting-volcanoes-2",
        "cell-phone",  # "mobile phone" and its tag "cell"
        "mobilephones",  # two words of a name as one
        "key-board",  # one word of a name as two
    ],
)
def test_a_name_or_tag_of_a_withheld_concept_withholds(name, withheld):
    assert is_withheld(name, withheld)


@pytest.mark.parametrize("name", ["dog", "baguette", "guitar", "scooter", "hammer", "keyring"])
def test_a_concept_that_is_seen_withholds_nothing(name, withheld):
    assert not is_withheld(name, withheld)


@pytest.mark.parametrize("name", ["brazil-flag", "flags", "germany", "South Korea", "turkey", "united_states", "usa"])
def test_flags_and_countries_are_withheld(name, withheld):
    assert is_withheld(name, withheld)


def test_a_country_is_withheld_as_a_whole_name_only(withheld):
    assert is_withheld("jersey", withheld)
    assert not is_withheld("jersey-shirt", withheld)
    assert not is_withheld("guinea-pig", withheld)


@pytest.mark.parametrize("template", CAPTION_TEMPLATES)
def test_icons_that_could_be_called_like_a_flags_caption_are_withheld(template, withheld):
    assert template == "official colors of {}" or is_withheld(template.format("Atlantis"), withheld)


def test_no_part_of_a_word_withholds(withheld):
    assert is_withheld("cat", withheld)
    assert not is_withheld("catapult", withheld)
    assert not is_withheld("2", withheld) and not is_withheld("", withheld)
