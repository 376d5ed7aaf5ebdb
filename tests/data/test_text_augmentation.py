# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Each edit of a caption does what its definition says, as often as it says, and never empties a caption."""

import pickle
import random
from collections import Counter

import pytest

from hf_cloob.data.text_augmentation import (
    StrongTextAugmentation,
    WeakTextAugmentation,
    bare,
    vocabulary,
    with_deletions,
    with_swap,
    with_synonym,
    without_stop_words,
)

SYNONYMS = {"dog": ("domestic dog", "hound"), "boat": ("vessel",)}
CAPTION = "The dog, with a hat, rows the boat."
DRAWS = 4000


def within_four_deviations(count: int, probability: float, draws: int = DRAWS) -> bool:
    return abs(count - draws * probability) < 4 * (draws * probability * (1 - probability)) ** 0.5


def augmented(augmentation, caption=CAPTION, draws=DRAWS) -> Counter:
    rng = random.Random(0)
    return Counter(augmentation(caption, rng) for _ in range(draws))


def test_the_defaults_are_the_papers_numbers():
    weak, strong = WeakTextAugmentation(), StrongTextAugmentation({})
    assert weak.stop_word_dropping == strong.weak.stop_word_dropping == 0.8
    assert (strong.synonym, strong.swap, strong.deletion, strong.word_deletion) == (0.4, 0.4, 0.2, 0.1)


def test_weak_leaves_out_all_function_words_or_none():
    counts = augmented(WeakTextAugmentation())
    assert set(counts) == {CAPTION, "dog, hat, rows boat."}
    assert within_four_deviations(counts["dog, hat, rows boat."], 0.8)
    assert augmented(WeakTextAugmentation(0.0), draws=50) == {CAPTION: 50}


def test_a_caption_of_function_words_alone_stays():
    always = WeakTextAugmentation(1.0)
    assert always("Is it the  a?", random.Random(0)) == "Is it the  a?"
    assert without_stop_words("To be or not to be".split()) == ["not"]


def test_strong_makes_exactly_one_edit_as_often_as_it_says():
    # Word deletion 1 leaves one word, so that each edit can be told from the result.
    strong = StrongTextAugmentation(SYNONYMS, word_deletion=1.0, weak=WeakTextAugmentation(0.0))
    plain = "dog boat hat tree".split()
    kinds = Counter()
    for text, count in augmented(strong, " ".join(plain)).items():
        words = text.split(" ")
        if len(words) == 1:
            kinds["deletion"] += count
        elif sorted(words) == sorted(plain):
            assert sum(old != new for old, new in zip(plain, words, strict=True)) == 2
            kinds["swap"] += count
        else:
            assert text in {"domestic dog boat hat tree", "hound boat hat tree", "dog vessel hat tree"}
            kinds["synonym"] += count
    assert within_four_deviations(kinds["synonym"], 0.4)
    assert within_four_deviations(kinds["swap"], 0.4)
    assert within_four_deviations(kinds["deletion"], 0.2)


def test_strong_drops_function_words_first():
    strong = StrongTextAugmentation(SYNONYMS, synonym=0.0, swap=0.0, deletion=1.0, word_deletion=0.0)
    assert within_four_deviations(augmented(strong)["dog, hat, rows boat."], 0.8)


def test_a_missing_synonym_becomes_a_swap_and_a_lone_word_stays():
    only_synonyms = StrongTextAugmentation(SYNONYMS, synonym=1.0, swap=0.0, deletion=0.0)
    assert set(augmented(only_synonyms, "red hat", 50)) == {"hat red"}
    assert set(augmented(only_synonyms, "hat", 50)) == {"hat"}
    assert set(augmented(StrongTextAugmentation({}, word_deletion=1.0), "hat", 50)) == {"hat"}


def test_a_synonym_keeps_the_punctuation_and_is_drawn_evenly():
    words = CAPTION.split()
    rng = random.Random(0)
    counts = Counter(" ".join(with_synonym(words, SYNONYMS, rng)) for _ in range(DRAWS))
    boat = "The dog, with a hat, rows the vessel."
    assert set(counts) == {boat, CAPTION.replace("dog", "domestic dog"), CAPTION.replace("dog", "hound")}
    assert within_four_deviations(counts[boat], 0.5)
    assert within_four_deviations(counts[CAPTION.replace("dog", "hound")], 0.25)
    assert with_synonym(["hat"], SYNONYMS, rng) is None


def test_every_pair_of_places_is_swapped_equally_often():
    rng = random.Random(1)
    counts = Counter(tuple(with_swap("a b c d".split(), rng)) for _ in range(DRAWS))
    assert len(counts) == 6
    assert all(within_four_deviations(count, 1 / 6) for count in counts.values())
    assert with_swap(["a"], rng) == ["a"] and with_swap([], rng) == []


def test_each_word_is_deleted_with_its_probability_and_one_stays():
    rng = random.Random(2)
    words = [str(number) for number in range(10)]
    kept = Counter(word for _ in range(DRAWS) for word in with_deletions(words, 0.1, rng))
    assert all(within_four_deviations(kept[word], 0.9) for word in words)
    last = Counter(tuple(with_deletions(["a", "b"], 1.0, rng)) for _ in range(DRAWS))
    assert set(last) == {("a",), ("b",)} and within_four_deviations(last["a",], 0.5)
    assert with_deletions([], 0.5, rng) == []


def test_one_state_of_the_generator_gives_one_caption_also_after_pickling(emoji):
    captions = [captions[-1] for captions in emoji["train"]["captions"][:300]]
    strong = StrongTextAugmentation(SYNONYMS)
    copy = pickle.loads(pickle.dumps(strong))
    first = [strong(caption, random.Random(seed)) for seed, caption in enumerate(captions)]
    assert first == [copy(caption, random.Random(seed)) for seed, caption in enumerate(captions)]
    assert all(first) and first != captions


def test_words_are_looked_up_without_case_and_punctuation():
    assert bare("“Dog’s”,") == "dog’s" and bare("...") == ""


def test_function_words_are_not_looked_up():
    assert vocabulary(["A dog.", "the Dog — a cat in"]) == ["cat", "dog"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"word_deletion": 1.5}, "word_deletion must be from 0 to 1, got 1.5"),
        ({"synonym": -0.1}, "synonym must be from 0 to 1, got -0.1"),
        ({"swap": 0.5}, "must sum to 1, got 1.1"),
    ],
)
def test_senseless_probabilities_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        StrongTextAugmentation({}, **wrong)
    with pytest.raises(ValueError, match="stop_word_dropping must be from 0 to 1, got 2"):
        WeakTextAugmentation(2)
