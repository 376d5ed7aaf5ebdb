# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Concepts, captions and the mapping of drawings to them."""

import pytest

from hf_cloob.data.emoji_concepts import EmojiConcept, codepoint_key, emoji_concepts, icons_by_name

NAMES = {"groups": {"0": "animals", "1": "flags"}, "subgroups": {"5": "mammal"}}


def entry(label, hexcode, order, tags=(), group=0):
    return {"label": label, "hexcode": hexcode, "order": order, "tags": list(tags), "group": group, "subgroup": 5}


def test_the_variation_selector_does_not_make_another_codepoint():
    assert codepoint_key("2764-FE0F-200D-1F525") == codepoint_key("2764-200d-1f525") == "2764-200d-1f525"


def test_captions_are_the_label_and_the_tags_that_tell_it_from_others():
    emojis = [entry(f"beast {i}", f"1F00{i}", i, ["animal", f"own {i}"]) for i in range(4)]
    emojis.append(entry("“dog’s” face", "1F009", 9, ["beast 1", "puppy", "puppy"]))
    concepts = emoji_concepts(emojis, NAMES, [[codepoint_key(one["hexcode"]) for one in emojis]], ["flags"])
    assert concepts[0].captions == ("beast 0", "own 0")
    assert concepts[0].tags == ("animal", "own 0")
    assert concepts[4].captions == ('"dog\'s" face', "puppy")
    assert concepts[4].concept == "dog-s-face"


def test_only_what_every_complete_family_draws_is_a_concept():
    emojis = [entry("cat", "1F408", 2), entry("ox", "1F402", 1), entry("flag: Peru", "1F1F5", 0, group=1)]
    drawn = [{"1f408", "1f402", "1f1f5"}, {"1f402", "1f1f5"}]
    assert [concept.label for concept in emoji_concepts(emojis, NAMES, drawn, ["flags"])] == ["ox"]


def test_two_emoji_with_one_id_are_an_error():
    emojis = [entry("red heart", "1", 0), entry("red-heart", "2", 1)]
    with pytest.raises(ValueError, match="red-heart"):
        emoji_concepts(emojis, NAMES, [{"1", "2"}], [])


def test_a_package_without_codepoints_is_mapped_by_whole_names_only():
    def concept(label, hexcode):
        return EmojiConcept(label, hexcode, label, (), (label,), "g", "s")

    concepts = [concept("cat", "A"), concept("cat face", "B"), concept("bow and arrow", "C"), concept("anxious", "D")]
    found = icons_by_name(["cat", "catside", "bow", "coldsweat"], concepts, {"D": "COLD SWEAT"})
    assert found == {"a": "catside", "b": "cat", "d": "coldsweat"}
