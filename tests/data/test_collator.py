# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Batches: padded to their longest caption, cut with the end token kept."""

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from hf_cloob.data.collator import ImageTextCollator
from hf_cloob.data.tokenizers import train_bpe_tokenizer


@pytest.fixture(scope="module")
def tokenizer(emoji):
    return train_bpe_tokenizer(emoji["train"]["label"], 600)


def sample(text, index=0):
    return {"pixel_values": torch.full((3, 4, 4), float(index)), "text": text, "index": index}


def test_captions_are_padded_to_the_longest_of_the_batch_only(tokenizer):
    batch = ImageTextCollator(tokenizer, 77)([sample("cat", 0), sample("woman rowing boat", 1)])
    longest = len(tokenizer("woman rowing boat")["input_ids"])
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, longest)
    assert longest < 20
    assert batch["attention_mask"][0].sum() == len(tokenizer("cat")["input_ids"])
    assert (batch["input_ids"][0][batch["attention_mask"][0] == 0] == tokenizer.pad_token_id).all()


def test_a_caption_that_is_cut_keeps_its_end_token(tokenizer):
    batch = ImageTextCollator(tokenizer, 6)([sample("a very long caption " * 10), sample("cat")])
    assert batch["input_ids"].shape == (2, 6)
    assert batch["input_ids"][0, 0] == tokenizer.bos_token_id
    assert batch["input_ids"][0, -1] == tokenizer.eos_token_id


def test_pictures_are_stacked_in_order(tokenizer):
    batch = ImageTextCollator(tokenizer, 8)([sample("a", 3), {"skipped": "why", "index": 4}, sample("b", 5)])
    assert batch["pixel_values"].dtype == torch.float32
    assert batch["pixel_values"][:, 0, 0, 0].tolist() == batch["index"].tolist() == [3, 5]
    assert batch["text"] == ["a", "b"]
    assert batch["skipped"] == {"why": 1}


def test_strong_views_keep_the_pairs_as_rows(tokenizer):
    texts = [["cat", "woman rowing boat"], ["a", "b"]]
    samples = [
        sample("cat", row)
        | {"strong_texts": texts[row], "strong_pixel_values": torch.arange(2.0).view(2, 1, 1, 1) + 10 * row}
        for row in range(2)
    ]
    plain, batch = ImageTextCollator(tokenizer, 77)([sample("cat")] * 2), ImageTextCollator(tokenizer, 77)(samples)
    assert batch["strong_text"] == texts
    assert batch["strong_pixel_values"].flatten(1).tolist() == [[0, 1], [10, 11]]
    longest = len(tokenizer("woman rowing boat")["input_ids"])
    assert batch["strong_input_ids"].shape == batch["strong_attention_mask"].shape == (2, 2, longest)
    for row in range(2):
        for view in range(2):
            kept = batch["strong_input_ids"][row, view][batch["strong_attention_mask"][row, view].bool()]
            assert kept.tolist() == tokenizer(texts[row][view])["input_ids"]
    assert set(batch) - set(plain) == {
        "strong_pixel_values",
        "strong_input_ids",
        "strong_attention_mask",
        "strong_text",
    }


def test_canvases_are_stacked_where_views_are_made_later(tokenizer):
    views = {"strong_texts": ["a", "b"], "strong_canvas": torch.zeros(3, 5, 5, dtype=torch.uint8)}
    batch = ImageTextCollator(tokenizer, 8)([sample("a") | views] * 3)
    assert batch["strong_canvas"].shape == (3, 3, 5, 5) and batch["strong_canvas"].dtype == torch.uint8
    assert "strong_pixel_values" not in batch and batch["strong_input_ids"].shape[:2] == (3, 2)


def test_a_batch_of_broken_samples_only_is_an_error(tokenizer):
    with pytest.raises(ValueError, match=r"None of the 2 samples \[8, 9\].*'why': 2"):
        ImageTextCollator(tokenizer, 8)([{"skipped": "why", "index": 8}, {"skipped": "why", "index": 9}])


def test_with_a_placeholder_such_a_batch_has_all_fields_and_no_row(tokenizer):
    collator = ImageTextCollator(tokenizer, 8, placeholder=sample("", -1))
    whole, batch = collator([sample("cat", 3)]), collator([{"skipped": "why", "index": 8}])
    assert batch.keys() == whole.keys()
    assert batch["pixel_values"].shape == (0, 3, 4, 4)
    assert batch["input_ids"].shape[0] == batch["attention_mask"].shape[0] == len(batch["text"]) == 0
    assert batch["skipped"] == {"why": 1}
    assert collator([sample("cat", 3), {"skipped": "why", "index": 8}])["text"] == ["cat"]


def test_a_tokenizer_without_padding_is_refused():
    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"cat": 0}, unk_token="cat")))
    with pytest.raises(ValueError, match="has no padding token"):
        ImageTextCollator(bare, 8)


def test_a_length_without_room_for_a_word_is_refused(tokenizer):
    with pytest.raises(ValueError, match="max_length must exceed the 2 special tokens of a caption, got 2"):
        ImageTextCollator(tokenizer, 2)
