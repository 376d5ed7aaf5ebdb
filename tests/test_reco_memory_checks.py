# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What may go into a memory: every mistake is one error that names value and place."""

import pytest
import torch
from tiny_reco import unit_rows

from hf_cloob.reco_memory_checks import (
    check_same_encoder,
    checked_captions,
    checked_embeds,
    checked_exclusions,
    checked_ids,
)


def spoiled(value: float) -> torch.Tensor:
    rows = unit_rows(5, 8)
    rows[3, 2] = value
    return rows


@pytest.mark.parametrize(
    ("image_embeds", "text_embeds", "message"),
    [
        (unit_rows(5, 8), unit_rows(4, 8), r"same number of rows, got \(5, 8\) and \(4, 8\)"),
        (unit_rows(5, 8), unit_rows(5, 6), r"got \(5, 8\) and \(5, 6\)"),
        (torch.ones(8), torch.ones(8), r"must both have the shape \(memory_size, projection_dim\)"),
        (torch.ones(0, 8), torch.ones(0, 8), "at least one entry"),
        (spoiled(float("nan")), unit_rows(5, 8), "Row 3 of image_embeds has NaN or infinite values"),
        (unit_rows(5, 8), spoiled(float("inf")), "Row 3 of text_embeds has NaN or infinite values"),
        (2 * unit_rows(5, 8), unit_rows(5, 8), "Row 0 of image_embeds has norm 2: .*L2-normalized"),
        (unit_rows(5, 8), 0 * unit_rows(5, 8), "Row 0 of text_embeds has norm 0"),
        (torch.ones(5, 8, dtype=torch.long), unit_rows(5, 8), "image_embeds must be floating point, got torch.int64"),
    ],
)
def test_embeddings_that_are_no_memory_are_named(image_embeds, text_embeds, message):
    with pytest.raises(ValueError, match=message):
        checked_embeds(image_embeds, text_embeds)


def test_another_width_than_the_memorys_is_named():
    with pytest.raises(ValueError, match="This memory has projection_dim 6, got embeddings of 8 from here"):
        checked_embeds(unit_rows(5, 8), unit_rows(5, 8), 6, " from here")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_rows_of_every_precision_are_kept_in_float16(dtype):
    rows = unit_rows(5, 8).to(dtype)
    images, texts = checked_embeds(rows, rows.float().numpy())
    assert images.dtype == texts.dtype == torch.float16
    torch.testing.assert_close(images, rows.half())


def test_ids_default_to_row_numbers_and_may_be_any_list():
    assert checked_ids(None, 3).tolist() == [0, 1, 2]
    assert checked_ids([7, 3, 5], 3).tolist() == [7, 3, 5]
    assert checked_ids(torch.tensor([7, 3], dtype=torch.int32), 2).dtype == torch.int64


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, 2], r"shape \(3,\), one for each entry, got \(2,\)"),
        ([1, 2, 1], r"must be different, 1 repeat, the first are \[1\]"),
        ([3, -2, 1], "must be at least 0.*got -2"),
        ([1.0, 2.0, 3.0], "must be whole numbers, got torch.float32"),
    ],
)
def test_ids_that_do_not_identify_are_named(ids, message):
    with pytest.raises(ValueError, match=message):
        checked_ids(ids, 3)


@pytest.mark.parametrize(
    ("captions", "message"),
    [
        (["a", "b"], "captions and embeddings must match: got 2 captions for 3 entries"),
        ("abc", "got the single string 'abc' for 3 entries"),
        (["a", 5, "c"], r"captions\[1\] must be a string or None, got 5"),
    ],
)
def test_captions_that_do_not_match_are_named(captions, message):
    with pytest.raises(ValueError, match=message):
        checked_captions(captions, 3)


def test_unknown_captions_are_none():
    assert checked_captions(None, 2) == [None, None]
    assert checked_captions(("a", None), 2) == ["a", None]


def test_exclusions_are_a_row_for_each_query():
    assert checked_exclusions(None, 3) is None
    assert checked_exclusions([4, 5, -1], 3).tolist() == [[4], [5], [-1]]
    assert checked_exclusions(torch.tensor([[4, 5], [6, -1]]), 2).tolist() == [[4, 5], [6, -1]]
    for wrong in ([1, 2], torch.zeros(3, 1, 1, dtype=torch.long)):
        with pytest.raises(ValueError, match=r"exclude_ids must have the shape \(3,\) or \(3, e\)"):
            checked_exclusions(wrong, 3)
    with pytest.raises(ValueError, match="exclude_ids must be whole numbers"):
        checked_exclusions([0.5, 1.0, 2.0], 3)


def test_only_two_known_fingerprints_can_differ():
    check_same_encoder("a", "a", "here")
    check_same_encoder(None, "a", "here")
    check_same_encoder("a", None, "here")
    with pytest.raises(ValueError, match="made by another encoder: its fingerprint is a, that of here is b"):
        check_same_encoder("a", "b", "here")
