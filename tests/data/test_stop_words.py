# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The list of function words: in the form it is looked up in, without words that change what a picture shows."""

from collections import defaultdict

from hf_cloob.data.pairs import normalize_caption
from hf_cloob.data.stop_words import STOP_WORDS
from hf_cloob.data.text_augmentation import bare, without_stop_words


def test_every_word_is_in_the_form_it_is_looked_up_in():
    assert [word for word in STOP_WORDS if word != bare(word) or word.split() != [word]] == []
    assert {"a", "the", "of", "with", "is", "it's"} <= STOP_WORDS


def test_negations_directions_and_words_that_are_things_stay():
    kept = "no not nor never without up down over under above below left right off out can will mine one".split()
    assert STOP_WORDS.isdisjoint(kept)


def test_no_two_captions_of_the_emoji_become_one(emoji):
    shortened = defaultdict(set)
    for captions in emoji["train"]["captions"]:
        for caption in map(normalize_caption, captions):
            shortened[" ".join(without_stop_words(caption.split())) or caption].add(caption)
    assert len(shortened) > 3000
    assert {short: captions for short, captions in shortened.items() if len(captions) > 1} == {}
