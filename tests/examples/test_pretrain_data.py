# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Pretraining on some families of emoji sees those and no other."""

import pretrain_data
import pytest
from command_line import UserError

from hf_cloob.data.emoji import load_emoji


def test_only_the_chosen_families_are_trained_on():
    train = load_emoji()["train"]
    chosen = pretrain_data.of_families(train, ["openmoji", "twemoji"])
    assert set(chosen["family"]) == {"openmoji", "twemoji"}
    assert len(chosen) == sum(family in ("openmoji", "twemoji") for family in train["family"])
    assert pretrain_data.of_families(train, None) is train


@pytest.mark.parametrize("families", [[], ["noto"], ["twemoji", "twemojis"]])
def test_families_that_are_not_there_are_named(families):
    with pytest.raises(UserError, match="must be some of fluent, fxemoji, openmoji, twemoji, got"):
        pretrain_data.of_families(load_emoji()["train"], families)
