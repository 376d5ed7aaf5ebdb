# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Codes, names and wordings of the flags, as emojibase has them."""

import pytest

from hf_cloob.data.emoji_packages import EMOJIBASE
from hf_cloob.data.flag_names import flag_names, squashed, unaccented
from hf_cloob.data.npm_packages import default_cache_dir, fetch_packages, read_json


@pytest.fixture(scope="module")
def flags():
    base = fetch_packages([EMOJIBASE], default_cache_dir())[EMOJIBASE.name]
    members = ("en/data.json", "meta/groups.json", "en/shortcodes/emojibase.json")
    return {flag.code: flag for flag in flag_names(*(read_json(base, member) for member in members))}


def test_there_are_259_flags_in_unicodes_order(flags):
    codes = list(flags)
    assert len(codes) == 259
    assert codes[:3] == ["ac", "ad", "ae"] and codes[-1] == "zw"


def test_a_flag_has_code_label_and_bare_name(flags):
    assert (flags["de"].label, flags["de"].name) == ("flag: Germany", "Germany")
    assert flags["ci"].name == "Côte d'Ivoire"


def test_no_wording_holds_a_label_or_the_word_flag(flags):
    labels = {flag.label.lower() for flag in flags.values()}
    for flag in flags.values():
        assert len(set(flag.captions)) == len(flag.captions) >= 4
        for caption in flag.captions:
            assert "flag" not in caption.lower()
            assert not any(label in caption.lower() for label in labels)


def test_every_wording_belongs_to_one_flag_alone(flags):
    captions = [caption for flag in flags.values() for caption in flag.captions]
    assert len(set(captions)) == len(captions)


def test_wordings_hold_the_name_the_code_and_other_names(flags):
    assert flags["sz"].captions == (
        "national banner of Eswatini",
        "official colors of Eswatini",
        "ensign flown by Eswatini",
        "national banner of Swaziland",
        "SZ",
        "ISO code SZ",
    )


def test_other_names_come_from_shortcodes(flags):
    assert flags["us"].aliases == ("USA",)
    assert flags["tr"].aliases == ("Turkey",)
    assert flags["mm"].aliases == ("Burma", "Myanmar")


def test_a_respelled_name_is_no_other_name(flags):
    assert flags["ci"].aliases == flags["va"].aliases == flags["cd"].aliases == ()


def test_spellings_are_compared_without_accents_and_signs():
    assert unaccented("Türkiye") == "turkiye"
    assert squashed("Côte d'Ivoire") == squashed("cote_divoire") == "cotedivoire"
