# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What pretraining trains on and selects by: families of emoji, a split of its own, compositions."""

import pretrain_data
import pytest
import torch
from command_line import UserError, parse_arguments
from pretrain import PretrainArguments
from pretrain_checks import check_arguments

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


def test_a_validation_split_is_what_selection_reads_and_all_pairs_are_trained_on(flags, tmp_path):
    rows = load_emoji()["selection"].select(range(30)).select_columns(["image", "captions"])
    rows.rename_column("captions", "caption").to_parquet(tmp_path / "train.parquet")
    rows.select(range(7)).rename_column("captions", "caption").to_parquet(tmp_path / "validation.parquet")
    line = flags(dataset_name=tmp_path, validation_split="validation")
    args = parse_arguments(PretrainArguments, "", argv=line)
    train, evaluate = pretrain_data.build_data(args)
    assert len(train) == 30

    class Model:
        def encode_images(self, images, processor):
            return torch.nn.functional.normalize(torch.randn(len(images), 4), dim=-1)

        def encode_texts(self, texts, processor, truncation):
            return torch.nn.functional.normalize(torch.randn(len(texts), 4), dim=-1)

    assert evaluate(Model(), None, final=True)["selection_num_images"] == 7


def test_emoji_has_its_own_validation_split(flags):
    args = parse_arguments(PretrainArguments, "", argv=flags(dataset_name="emoji", validation_split="test_seen"))
    with pytest.raises(UserError, match="validation_split 'test_seen' does not go with emoji"):
        check_arguments(args)


def test_compositions_are_trained_on_as_a_dataset_with_its_own_selection(flags):
    line = flags(dataset_name="emoji_compositions", validation_split="selection")
    train, _ = pretrain_data.build_data(parse_arguments(PretrainArguments, "", argv=line))
    assert len(train) == 18_000 and len(train["captions"][0]) == 1
