# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The icons as built from the real packages: three small collections in the fast tests, all of them in a slow one."""

import hashlib
import logging
from collections import Counter

import numpy as np
import pytest

from hf_cloob.data import icons as icons_module
from hf_cloob.data.icon_packages import ICON_COLLECTIONS
from hf_cloob.data.icons import icon_drawings, load_icons

SMALL = ("flat-color-icons", "maki", "streamline-emojis")


@pytest.fixture(scope="module")
def icons():
    return load_icons(collections=SMALL)


@pytest.fixture(scope="module")
def table(icons):
    return icons.remove_columns("image").to_list()


def test_collections_draw_so_many_things_and_keep_their_license(table):
    assert Counter((row["family"], row["license"]) for row in table) == {
        ("streamline-emojis", "CC-BY-4.0"): 601,
        ("flat-color-icons", "MIT"): 327,
        ("maki", "CC0-1.0"): 209,
    }


def test_a_collection_has_one_row_for_a_caption_and_for_a_picture(icons, table):
    assert max(Counter((row["family"], row["caption"]) for row in table).values()) == 1
    pictures = [hashlib.sha256(image.tobytes()).hexdigest() for image in icons["image"]]
    assert max(Counter((row["family"], one) for row, one in zip(table, pictures, strict=True)).values()) == 1


def test_captions_are_base_names_in_words(table):
    captions = {row["name"]: row["caption"] for row in table if row["family"] == "streamline-emojis"}
    assert captions["beer-mug"] == "beer mug"
    assert captions["hamburger-1"] == "hamburger"
    assert "hamburger-2" not in captions
    assert all(any(letter.isalpha() for letter in caption) for caption in captions.values())


def test_pictures_are_drawings_on_white(icons):
    for row in icons.select(range(0, len(icons), 60)):
        pixels = np.asarray(row["image"])
        assert pixels.shape == (64, 64, 3)
        assert pixels.std() > 5
        assert (pixels == 255).all(axis=-1).mean() > 0.02


def test_every_flag_of_a_country_is_withheld(table):
    flags = {
        "australia",
        "brazil",
        "germany",
        "north-korea",
        "switzerland",
        "turkey",
        "united-states",
        "crossed-flags",
    }
    rows = [row for row in table if row["name"] in flags and row["family"] == "streamline-emojis"]
    assert len(rows) == len(flags)
    assert all(row["names_withheld"] for row in rows)


def test_withheld_concepts_are_marked_and_others_are_not(table):
    marks = {row["caption"]: row["names_withheld"] for row in table if row["family"] == "streamline-emojis"}
    assert marks["rainbow"] and marks["cloud with rain"] and marks["postbox"]
    assert not (marks["beer mug"] or marks["koala"] or marks["guitar"])


def test_so_many_are_marked_and_the_number_is_logged(table, caplog):
    with caplog.at_level(logging.INFO, logger="hf_cloob"):
        load_icons(collections=SMALL)
    marked = sum(row["names_withheld"] for row in table)
    assert f"{marked} of 1137 icons name something withheld" in caplog.text
    assert marked == 446


def test_the_order_of_the_collections_asked_for_does_not_matter(icons):
    assert load_icons(collections=SMALL[::-1]).cache_files == icons.cache_files


def test_the_plainest_style_shows_a_name_and_hidden_drawings_show_none():
    collection = {
        "icons": {"home-outline": {}, "home": {}, "old": {"hidden": True}, "2": {}, "cat-filled": {}, "cat-2": {}},
        "aliases": {"house": {"parent": "home-outline"}, "older": {"parent": "old"}},
    }
    drawings, names = icon_drawings(collection, [])
    assert drawings == {"home": "home", "cat": "cat-filled"}
    assert names == {"home": {"home", "house"}, "cat": {"cat"}}


def test_a_picture_drawn_again_adds_its_names_and_unreadable_or_blank_ones_are_reported():
    square, report = {"body": "<path d='M0 0h9v9z'/>"}, {"unreadable": [], "blank": [], "repeated": []}
    broken, white = {"body": "<path d='M0 0"}, {"body": "<path fill='#fff' d='M0 0h9v9z'/>"}
    collection = {"icons": {"sunny": square, "clear": square, "broken": broken, "white": white}}
    drawings = [(name, name) for name in collection["icons"]]
    own_names = {name: {name, f"{name} too"} for name in collection["icons"]}
    (drawn,) = icons_module._render_family("maki", collection, drawings, own_names, 16, report)
    assert drawn[0]["name"] == "sunny"
    assert drawn[1] == {"sunny", "sunny too", "clear", "clear too"}
    assert [[entry["icon"] for entry in report[key]] for key in report] == [["broken"], ["white"], ["clear"]]


@pytest.mark.parametrize("collections", [["maki", "emojione"], "maki", []])
def test_an_unknown_collection_is_refused_with_the_known_ones_named(collections, tmp_path):
    with pytest.raises(ValueError, match="collections must be some of material-symbols, .*, maki; got"):
        load_icons(tmp_path, collections=collections)


def test_a_senseless_image_size_is_refused(tmp_path):
    with pytest.raises(ValueError, match="image_size must be at least 8 pixels, got -1"):
        load_icons(tmp_path, image_size=-1)


@pytest.mark.slow
def test_all_collections_give_32_thousand_icons_a_third_of_them_withheld():
    icons = load_icons()
    assert list(dict.fromkeys(icons["family"])) == list(ICON_COLLECTIONS)
    assert len(icons) == 31796
    assert sum(icons["names_withheld"]) == 10285
    names = zip(icons["family"], icons["name"], strict=True)
    # Drawn twice, the second time under the withheld name "sunny".
    assert dict(zip(names, icons["names_withheld"], strict=True))["material-symbols", "clear-day"]
