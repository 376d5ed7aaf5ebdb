# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Tokenizers without a hub: lossless, deterministic, and the same after saving."""

import json

import pytest
from transformers import AutoTokenizer

from hf_cloob.data.tokenizers import load_clip_tokenizer, train_bpe_tokenizer

TEXTS = ["Woman rowing boat", "a red  apple!", "naïve 日本 🙂", "", "it's the dog's 3rd"]


@pytest.fixture(scope="module")
def captions(emoji):
    return [caption for own in emoji["train"]["captions"] for caption in own]


@pytest.fixture(scope="module")
def tokenizer(captions):
    return train_bpe_tokenizer(captions, 1000, context_length=32)


def test_every_text_is_lower_cased_and_comes_back(tokenizer):
    for text in TEXTS:
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True).strip() == text.lower()


def test_texts_stand_between_start_and_end_which_have_the_highest_ids(tokenizer):
    ids = tokenizer("cat")["input_ids"]
    assert (ids[0], ids[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert len(tokenizer) == 1000
    assert [tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id] == [997, 998, 999]


def test_frequent_words_are_one_token_wherever_they_stand(tokenizer):
    assert tokenizer.tokenize("woman") == tokenizer.tokenize("the woman")[-1:]


def test_it_is_the_same_after_saving_and_loading(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded(TEXTS, padding=True) == tokenizer(TEXTS, padding=True)
    assert loaded.model_max_length == 32
    assert (loaded.pad_token_id, loaded.bos_token_id, loaded.eos_token_id) == (997, 998, 999)
    assert list(loaded("a")) == ["input_ids", "attention_mask"]


def test_training_twice_gives_one_tokenizer(captions):
    first, second = (train_bpe_tokenizer(captions, 1000).backend_tokenizer.to_str() for _ in range(2))
    assert first == second


def test_few_captions_give_fewer_tokens_than_asked():
    assert len(train_bpe_tokenizer(["a cat", "a cat"], 5000)) < 300


def test_a_vocabulary_without_room_for_the_bytes_is_refused():
    with pytest.raises(ValueError, match=r"vocab_size must be at least 259 .*, got 100"):
        train_bpe_tokenizer(["a"], 100)
    with pytest.raises(ValueError, match="no captions"):
        train_bpe_tokenizer([])


def write_clip_files(folder):
    """CLIP's file format with three merges: letters, letters that end a word, merged pieces, special tokens."""
    letters = "abcdefghijklmnopqrstuvwxyz!"
    merges = ["c a", "ca t</w>", "d o"]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *(merge.replace(" ", "") for merge in merges)]
    tokens = [*pieces, "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    return tokens


def test_clips_tokenizer_is_read_from_its_two_files_and_survives_saving(tmp_path):
    tokens = write_clip_files(tmp_path)
    tokenizer = load_clip_tokenizer(tmp_path)
    pieces = ["<|startoftext|>", "a</w>", "cat</w>", "do", "g</w>", "<|endoftext|>"]
    assert tokenizer("A cat  dog")["input_ids"] == [tokens.index(piece) for piece in pieces]
    assert tokenizer.model_max_length == 77
    tokenizer.save_pretrained(tmp_path / "saved")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert loaded(["a cat", "dog"], padding=True) == tokenizer(["a cat", "dog"], padding=True)
    assert loaded.decode(loaded("a cat")["input_ids"], skip_special_tokens=True) == "a cat"


def test_a_folder_without_clips_files_is_refused_by_name(tmp_path):
    write_clip_files(tmp_path)
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(ValueError, match=r"lacks merges\.txt"):
        load_clip_tokenizer(tmp_path)
