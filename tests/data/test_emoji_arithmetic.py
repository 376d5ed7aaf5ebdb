# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The table of emoji quadruples is what its rules give, and every row of it is true."""

from collections import Counter

import pytest

from hf_cloob.data.emoji_arithmetic import (
    MAX_TARGETS,
    TABLE,
    build_quadruples,
    corpus_concepts,
    load_quadruples,
    quadruples_of_family,
    write_quadruples,
)
from hf_cloob.data.emoji_concepts import EmojiConcept
from hf_cloob.data.emoji_protocol import WITHHELD_SUBGROUPS


@pytest.fixture(scope="module")
def table():
    return load_quadruples()


def concept(hexcode: str, label: str, group: str = "objects", subgroup: str = "time") -> EmojiConcept:
    return EmojiConcept(label.replace(" ", "-"), hexcode, label, (), (label,), group, subgroup)


def asked(*concepts: EmojiConcept) -> set[tuple[str, ...]]:
    found = build_quadruples(concepts)
    return {(item.kind, item.source, item.source_words, item.target_words, item.target) for item in found}


def test_the_rules_give_the_committed_table(emoji, tmp_path):
    write_quadruples(build_quadruples(corpus_concepts(emoji)), tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_bytes() == TABLE.read_bytes()


def test_the_unseen_style_has_more_than_two_thousand_questions_of_fourteen_kinds(emoji):
    pictures, quadruples = quadruples_of_family(emoji, "noto")
    assert set(pictures["family"]) == {"noto"} and len(pictures) == len(set(pictures["concept"])) == 1584
    assert Counter(item.kind for item in quadruples) == {
        "activity": 1307,
        "clock": 168,
        "color": 194,
        "direction": 90,
        "expression": 102,
        "face_of": 44,
        "facing": 36,
        "gender": 496,
        "inscription": 296,
        "looks": 108,
        "moon": 60,
        "shape": 58,
        "size": 28,
        "state": 50,
    }
    assert Counter(item.unseen for item in quadruples) == {False: 1997, True: 1040}


def test_a_familys_questions_name_only_what_it_draws(emoji):
    pictures, quadruples = quadruples_of_family(emoji, "openmoji")
    drawn = set(pictures["concept"])
    assert quadruples and all({item.source, item.target} <= drawn for item in quadruples)
    # Withheld concepts are not drawn in a training style.
    assert not any(item.unseen for item in quadruples)
    with pytest.raises(
        ValueError, match="family must be one of fluent, fxemoji, noto, openmoji, twemoji; got 'emoji'"
    ):
        quadruples_of_family(emoji, "emoji")


def test_unseen_marks_the_questions_with_a_withheld_concept(emoji, table):
    withheld = {own.concept for own in corpus_concepts(emoji) if own.subgroup in WITHHELD_SUBGROUPS}
    assert all(item.unseen == bool({item.source, item.target} & withheld) for item in table)


def test_every_question_has_one_answer_and_changes_something(table):
    questions = Counter((item.kind, item.source, item.source_words, item.target_words) for item in table)
    assert max(questions.values()) == 1
    assert all(item.source != item.target and item.source_words != item.target_words for item in table)
    assert max(Counter((item.kind, item.source, item.source_words) for item in table).values()) == MAX_TARGETS


@pytest.mark.parametrize(
    "row",
    [
        ("gender", "farmer", "person", "woman", "woman-farmer"),
        ("gender", "people-wrestling", "people", "women", "women-wrestling"),
        ("gender", "old-man", "man", "woman", "old-woman"),
        ("activity", "man-farmer", "farmer", "health worker", "man-health-worker"),
        ("looks", "boy", "child", "old", "old-man"),
        ("clock", "four-o-clock", "o'clock", "thirty", "four-thirty"),
        ("color", "red-apple", "red", "green", "green-apple"),
        ("shape", "red-heart", "heart", "square", "red-square"),
        ("direction", "thumbs-up", "up", "down", "thumbs-down"),
        ("facing", "woman-running", "facing left", "facing right", "woman-running-facing-right"),
        ("face_of", "dog", "animal", "animal face", "dog-face"),
        ("face_of", "pouting-cat", "cat", "face", "enraged-face"),
        ("expression", "weary-cat", "weary", "crying", "crying-cat"),
    ],
)
def test_known_truths_are_in_the_table(table, row):
    assert row in {(item.kind, item.source, item.source_words, item.target_words, item.target) for item in table}


def test_labels_that_differ_in_one_color_are_asked_both_ways_and_others_are_not():
    found = asked(concept("1", "red ball"), concept("2", "light blue ball"), concept("3", "blue box"))
    assert found == {
        ("color", "red-ball", "red", "light blue", "light-blue-ball"),
        ("color", "light-blue-ball", "light blue", "red", "red-ball"),
    }


def test_gender_comes_from_the_codepoints_and_not_from_the_words():
    people = {"group": "people-body", "subgroup": "person-role"}
    cook, woman = concept("1F9D1-200D-1F373", "cook", **people), concept("1F469-200D-1F373", "chef lady", **people)
    assert asked(cook, woman) == {
        ("gender", "cook", "person", "woman", "chef-lady"),
        ("gender", "chef-lady", "woman", "person", "cook"),
    }
    # A hand that is like nobody's has no gender.
    assert asked(concept("1F44B", "waving hand", "people-body", "hand-fingers-open")) == set()


def test_what_is_written_is_read(tmp_path, table, monkeypatch):
    write_quadruples(table[:5], tmp_path / "few.csv")
    monkeypatch.setattr("hf_cloob.data.emoji_arithmetic.TABLE", tmp_path / "few.csv")
    assert load_quadruples() == table[:5]
