# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The package's own corpora are found by name and split, and what is withheld is not among what pretraining takes."""

import pytest

from hf_cloob.data.corpora import corpus_columns, is_corpus, load_corpus
from hf_cloob.data.flags import load_flags
from hf_cloob.data.sources import load_pairs


@pytest.fixture(scope="module")
def flags():
    return load_flags()


def test_names_of_corpora_are_told_from_folders():
    assert all(is_corpus(name) for name in ("emoji", "icons", "flags", "flags:twemoji"))
    assert not any(is_corpus(name) for name in ("./emoji", "data/icons", "emoji2", "C:/flags", "hub/emoji"))


def test_splits_of_emoji_are_its_own(emoji):
    for split in emoji:
        assert load_corpus("emoji", split)["label"][:] == emoji[split]["label"][:]
    assert corpus_columns(emoji["train"]) == ("image", "captions", None)
    assert corpus_columns(emoji["train"], with_concept=True) == ("image", "captions", "concept")


def test_splits_of_flags_are_the_families_in_their_order(flags):
    rows = list(zip(flags["family"], flags["code"], strict=True))
    for name, split in (("flags", "cif"), ("flags:twemoji", "train")):
        family = "cif" if split == "cif" else "twemoji"
        loaded = load_corpus(name, split)
        assert list(zip(loaded["family"], loaded["code"], strict=True)) == [row for row in rows if row[0] == family]
    assert corpus_columns(flags, with_concept=True) == ("image", "captions", "code")
    with pytest.raises(ValueError, match="flags has no split 'train'; its splits are .*'twemoji', 'openmoji'"):
        load_corpus("flags")


def test_pairs_of_several_corpora_come_with_the_captions_of_each(emoji, flags):
    pairs = load_pairs("emoji:selection, flags:openmoji", concept_column="id", caption_column="text")
    openmoji = [row for row, family in enumerate(flags["family"]) if family == "openmoji"]
    expected = [*emoji["selection"]["captions"], *(flags["captions"][row] for row in openmoji)]
    assert pairs["captions"][:] == expected
    assert pairs["concept"][-1] == flags["code"][openmoji[-1]]
    assert pairs[len(pairs) - 1]["image"].size == (64, 64)


def test_an_unknown_corpus_is_named():
    with pytest.raises(
        ValueError, match="The corpora of this package are emoji, emoji_compositions, icons, flags; got 'emojis'"
    ):
        load_corpus("emojis")


@pytest.mark.slow
def test_icons_that_name_something_withheld_are_not_what_pretraining_takes():
    kept, withheld = load_corpus("icons"), load_corpus("icons", "withheld")
    assert not any(kept["names_withheld"]) and all(withheld["names_withheld"])
    assert len(kept) > 20_000 and len(withheld) > 100
    pairs = load_pairs("icons")
    assert [captions[0] for captions in pairs["captions"]] == kept["caption"][:]
