# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Captions that cannot be used, and when there is too much of it."""

import pytest

from hf_cloob.data.bad_samples import BadSample, Tally, check_bad_fraction, flat_name, usable_captions


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ([], "missing caption"),
        ([None], "missing caption"),
        ([""], "empty caption"),
        ([b" \n\0\t "], "empty caption"),
        ([b"caf\xe9"], "caption not UTF-8"),
        (["caf\ufffd"], "caption not UTF-8"),
        (["x" * 10_001], "enormous caption"),
        (["", None], "empty caption"),
    ],
)
def test_captions_that_cannot_be_used_say_why(values, cause):
    with pytest.raises(BadSample) as bad:
        usable_captions(values)
    assert bad.value.cause == cause


def test_one_good_caption_of_several_is_enough():
    assert usable_captions(["", b"a  cat\n", "caf\ufffd", "a cat", "\ufeffdog"]) == ["a cat", "dog"]


def test_a_tally_keeps_the_first_place_of_each_cause_and_starts_over_when_taken():
    tally = Tally()
    for cause, place in (("not an image", "a"), ("missing image", "b"), ("not an image", "c")):
        tally.add(BadSample(cause, place))
    assert tally.take() == ({"not an image": 2, "missing image": 1}, {"not an image": "a", "missing image": "b"})
    assert tally.take() == ({}, {})


def test_more_than_the_allowed_fraction_is_one_message_with_number_causes_and_places():
    bad, places = {"truncated image": 2, "missing image": 29}, {"missing image": "0.tar/7"}
    check_bad_fraction(3069, bad, places, max_fraction=0.01)
    with pytest.raises(ValueError) as error:
        check_bad_fraction(3000, bad, places, max_fraction=0.01)
    assert str(error.value).startswith(
        "31 of the 3031 pairs read so far cannot be used, more than max_bad_fraction 0.01"
    )
    assert "missing image 29 (first: 0.tar/7), truncated image 2." in str(error.value)


def test_a_few_bad_pairs_at_the_start_stop_nothing():
    check_bad_fraction(0, {"missing image": 10}, {}, max_fraction=0.01)
    with pytest.raises(ValueError, match="11 of the 11"):
        check_bad_fraction(0, {"missing image": 11}, {}, max_fraction=0.01)


def test_causes_have_flat_names():
    assert flat_name("zero-byte image") == "skipped_zero_byte_image"
    assert flat_name("caption not UTF-8") == "skipped_caption_not_utf_8"
