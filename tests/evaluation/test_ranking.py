# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Embeddings and indices are checked before anything is ranked, and the message says what is wrong where."""

import pytest
import torch

from hf_cloob.evaluation.ranking import check_embeds, check_indices, check_ks, check_positive, check_same_dim

UNIT = torch.nn.functional.normalize(torch.arange(1.0, 13).reshape(4, 3), dim=1)


def test_half_precision_becomes_float32_and_float64_stays():
    assert check_embeds("images", UNIT.bfloat16()).dtype == torch.float32
    assert check_embeds("images", UNIT.double()).dtype == torch.float64


def test_a_row_that_is_not_finite_is_named():
    embeds = UNIT.clone()
    embeds[2, 1] = float("nan")
    with pytest.raises(ValueError, match="images has values that are not finite in 1 rows, the first is row 2"):
        check_embeds("images", embeds)


def test_a_row_that_is_not_normalized_is_named_with_its_norm():
    embeds = UNIT.clone()
    embeds[1] *= 3
    with pytest.raises(ValueError, match="row 1 with norm 3"):
        check_embeds("images", embeds)


@pytest.mark.parametrize("embeds", [UNIT[0], UNIT.long(), UNIT[:0], [[1.0]]])
def test_what_is_no_matrix_of_numbers_is_refused(embeds):
    with pytest.raises(ValueError, match="images"):
        check_embeds("images", embeds)


def test_embeddings_of_two_widths_are_refused_with_both_shapes():
    with pytest.raises(ValueError, match=r"images \(4, 3\), texts \(4, 2\)"):
        check_same_dim(images=UNIT, texts=UNIT[:, :2])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 5], r"targets\[1\] is 5; classes are 0 to 4"),
        ([0, -1], r"targets\[1\] is -1"),
        ([0.0, 1.0], "whole numbers"),
        ([0], r"shape \(2,\)"),
    ],
)
def test_an_index_outside_its_range_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        check_indices("targets", torch.tensor(values), 2, 5, "classes")


def test_indices_come_back_as_int64():
    assert check_indices("targets", torch.tensor([0, 4], dtype=torch.int32), 2, 5, "classes").dtype == torch.int64


@pytest.mark.parametrize("ks", [(), (0,), (1, 2.0), (True,)])
def test_cut_offs_must_be_whole_numbers_from_one(ks):
    with pytest.raises(ValueError, match="ks must be whole numbers"):
        check_ks(ks)


def test_sizes_must_be_at_least_one_and_are_named():
    with pytest.raises(ValueError, match="chunk_size must be at least 1; got 0"):
        check_positive(batch_size=1, chunk_size=0)
