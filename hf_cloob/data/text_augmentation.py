# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Captions to other captions of the same picture: fewer function words, a synonym, two words swapped, words left out.

Both augmentations are small picklable callables (caption, random.Random) -> caption: one state of the generator gives
one caption. A caption is the words between its spaces; punctuation stays with its word.

Source: Fini et al., "Improved baselines for vision-language pre-training" (arXiv 2305.08675); the three edits are
those of Wei and Zou, "EDA" (arXiv 1901.11196).
"""

import random
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from .stop_words import STOP_WORDS

PUNCTUATION = " \t\n.,;:!?\"'`()[]{}<>…“”‘’«»-–—"


@dataclass(frozen=True)
class WeakTextAugmentation:
    """Leave out all English function words, or none.

    One draw decides for the whole caption [ours: the paper's summary leaves open whether words are drawn one by one]:
    so the text tower still sees one caption in five as it was written, as it will see prompts.

    Args:
        stop_word_dropping: probability that the function words go.
        stop_words: what counts as one, in lower case.

    Raises:
        ValueError: a probability outside 0 to 1.
    """

    stop_word_dropping: float = 0.8
    stop_words: Set[str] = STOP_WORDS

    def __post_init__(self):
        if not 0 <= self.stop_word_dropping <= 1:
            raise ValueError(f"stop_word_dropping must be from 0 to 1, got {self.stop_word_dropping}")

    def __call__(self, caption: str, rng: random.Random) -> str:
        """The caption, or what is left of it; a caption of nothing but function words stays as it is."""
        if rng.random() < self.stop_word_dropping:
            return " ".join(without_stop_words(caption.split(), self.stop_words)) or caption
        return caption


@dataclass(frozen=True)
class StrongTextAugmentation:
    """`weak`, then exactly one edit: a synonym, a swap of two words, or a deletion.

    A caption without a word that has a synonym gets a swap instead, and one without two different words stays as it
    is: no edit empties a caption or falls back on a deletion, which would take the only word there is.

    Args:
        synonyms: word in lower case -> its synonyms, see `wordnet.synonym_table`; an empty table makes every synonym
            a swap.
        synonym, swap, deletion: their probabilities; they sum to 1.
        word_deletion: probability of each word to go in a deletion; at least one word stays.
        weak: what comes before.

    Raises:
        ValueError: a probability outside 0 to 1, or edits whose probabilities do not sum to 1.
    """

    synonyms: Mapping[str, Sequence[str]]
    synonym: float = 0.4
    swap: float = 0.4
    deletion: float = 0.2
    word_deletion: float = 0.1
    weak: WeakTextAugmentation = field(default_factory=WeakTextAugmentation)

    def __post_init__(self):
        for name in ("synonym", "swap", "deletion", "word_deletion"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)}")
        total = self.synonym + self.swap + self.deletion
        if abs(total - 1) > 1e-9:
            raise ValueError(f"synonym, swap and deletion must sum to 1, got {total}")

    def __call__(self, caption: str, rng: random.Random) -> str:
        """The augmented caption; never empty if the caption is not."""
        words = self.weak(caption, rng).split()
        drawn = rng.random()
        if drawn < self.deletion:
            words = with_deletions(words, self.word_deletion, rng)
        elif drawn < self.deletion + self.swap:
            words = with_swap(words, rng)
        else:
            words = with_synonym(words, self.synonyms, rng) or with_swap(words, rng)
        return " ".join(words) or caption


def without_stop_words(words: Sequence[str], stop_words: Set[str] = STOP_WORDS) -> list[str]:
    """The words that are not function words, whatever their case and punctuation."""
    return [word for word in words if bare(word) not in stop_words]


def with_synonym(words: Sequence[str], synonyms: Mapping[str, Sequence[str]], rng: random.Random) -> list[str] | None:
    """One word, drawn from those that have a synonym, replaced by one of its synonyms; None where no word has one."""
    places = [place for place, word in enumerate(words) if synonyms.get(bare(word))]
    if not places:
        return None
    place = _pick(places, rng)
    word = words[place]
    core = word.strip(PUNCTUATION)
    chosen = _pick(synonyms[core.lower()], rng)
    return [*words[:place], word.replace(core, chosen, 1), *words[place + 1 :]]


def with_swap(words: Sequence[str], rng: random.Random) -> list[str]:
    """Two places, drawn without repetition, with their words exchanged; fewer than two words stay as they are."""
    words = list(words)
    if len(words) > 1:
        first, second = int(rng.random() * len(words)), int(rng.random() * (len(words) - 1))
        second += second >= first
        words[first], words[second] = words[second], words[first]
    return words


def with_deletions(words: Sequence[str], probability: float, rng: random.Random) -> list[str]:
    """Each word left out with a probability; if all would go, one of them, drawn at random, stays."""
    kept = [word for word in words if rng.random() >= probability]
    return kept or ([_pick(words, rng)] if words else [])


def bare(word: str) -> str:
    """A word as it is looked up: lower case, without the punctuation around it."""
    return word.strip(PUNCTUATION).lower()


def vocabulary(captions: Sequence[str]) -> list[str]:
    """The distinct words of captions whose synonyms are looked up, sorted.

    Function words are left out: a dictionary knows them as something else ("in" as inch, indium and Indiana).
    """
    return sorted({bare(word) for caption in captions for word in caption.split()} - STOP_WORDS - {""})


def _pick(items: Sequence, rng: random.Random):
    # rng.choice takes three times as long, which counts at 50,000 captions a second.
    return items[int(rng.random() * len(items))]
