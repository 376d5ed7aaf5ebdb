# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The flags as built from the real packages."""

import hashlib
import shutil
from collections import Counter, defaultdict

import numpy as np
import pytest

from hf_cloob.data.emoji_protocol import in_selection_half
from hf_cloob.data.flag_drawings import FLAG_FAMILIES
from hf_cloob.data.flags import load_flags, same_flag_groups
from hf_cloob.data.npm_packages import default_cache_dir


@pytest.fixture(scope="module")
def flags():
    return load_flags()


@pytest.fixture(scope="module")
def table(flags):
    return flags.remove_columns("image").to_list()


@pytest.fixture(scope="module")
def germany(flags):
    """Family -> pixels (64, 64, 3)."""
    rows = flags.select([index for index, code in enumerate(flags["code"]) if code == "de"])
    return {row["family"]: np.asarray(row["image"]) for row in rows}


def test_families_draw_so_many_flags(flags):
    counts = {"twemoji": 259, "openmoji": 259, "circle-flags": 255, "flag": 258, "flagpack": 243, "cif": 198}
    assert Counter(flags["family"]) == counts
    assert list(dict.fromkeys(flags["family"])) == list(FLAG_FAMILIES)


def test_a_family_draws_a_code_once(table):
    assert max(Counter((row["family"], row["code"]) for row in table).values()) == 1


def test_codes_of_one_flag_know_each_other(table):
    groups = {row["code"]: row["same_flag_codes"] for row in table}
    assert {tuple(group) for group in groups.values() if len(group) > 1} == {
        ("au", "hm"),
        ("bl", "cp", "fr", "gf", "gp", "mf", "mq", "nc", "pm", "re", "wf", "yt"),
        ("bq", "nl"),
        ("bv", "no", "sj"),
        ("dg", "io"),
        ("ea", "es"),
        ("id", "mc"),
        ("ro", "td"),
        ("um", "us"),
    }
    assert all(code in group and groups[other] == group for code, group in groups.items() for other in group)


def test_ambiguous_are_the_pictures_that_a_family_shows_under_several_codes(flags, table):
    pictures = [hashlib.sha256(image.tobytes()).hexdigest() for image in flags["image"]]
    keys = [(row["family"], picture) for row, picture in zip(table, pictures, strict=True)]
    times = Counter(keys)
    assert [row["ambiguous"] for row in table] == [times[key] > 1 for key in keys]
    assert sum(row["ambiguous"] for row in table) == 70


def test_one_picture_is_never_in_both_halves(flags, table):
    halves = defaultdict(set)
    for row in table:
        for code in row["same_flag_codes"]:
            halves[code].add(row["half"])
        assert (row["half"] == "selection") == in_selection_half(row["same_flag_codes"][0])
    assert all(len(half) == 1 for half in halves.values())
    assert 0.4 < sum(half == {"selection"} for half in halves.values()) / len(halves) < 0.6


def test_groups_join_over_families_but_compare_within_one():
    drawings = [("a", "fr", b"1"), ("a", "mf", b"1"), ("a", "gp", b"2"), ("b", "fr", b"2"), ("b", "gp", b"3")]
    assert same_flag_groups(drawings) == {"fr": ("fr", "mf"), "mf": ("fr", "mf"), "gp": ("gp",)}
    drawings += [("c", "no", b"1"), ("c", "gp", b"4"), ("c", "mf", b"4")]
    groups = same_flag_groups(drawings)
    assert groups["gp"] == groups["fr"] == ("fr", "gp", "mf")
    assert groups["no"] == ("no",)


def test_drawings_keep_their_shape_on_a_white_square(germany):
    for family, pixels in germany.items():
        assert pixels.shape == (64, 64, 3)
        if family == "circle-flags":
            assert (pixels[0, 0] == 255).all() and (pixels[0, 32] != 255).any()
        else:
            # Wider than high, and as much white above as below.
            drawn = np.flatnonzero((pixels != 255).any(axis=(1, 2)))
            assert abs(drawn[0] - (63 - drawn[-1])) <= 1
            assert 0.5 < len(drawn) / 64 < 0.8


def test_every_family_draws_germany_black_above_red_above_gold(germany):
    assert list(germany) == list(FLAG_FAMILIES)
    for family, pixels in germany.items():
        black, red, gold = pixels[[20, 32, 44], 20].astype(int)
        assert black.max() < 80, family
        assert red[0] > red[1:].max() + 80, family
        assert gold[0] > 180 and gold[1] > gold[2] + 80, family


def test_groups_and_halves_do_not_depend_on_the_size(tmp_path, table):
    shutil.copytree(default_cache_dir() / "npm", tmp_path / "npm")
    small = load_flags(tmp_path, image_size=8)
    assert small[0]["image"].size == (8, 8)
    assert small.remove_columns("image").to_list() == table


def test_a_senseless_image_size_is_refused(tmp_path):
    with pytest.raises(ValueError, match="image_size must be at least 8 pixels, got 7"):
        load_flags(tmp_path, image_size=7)
