# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Tokenizers that need no hub: a byte-level BPE trained on the captions, and CLIP's own from a user's folder."""

import os
from collections.abc import Iterable
from pathlib import Path

from transformers import CLIPTokenizer, PreTrainedTokenizerFast

PAD_TOKEN, BOS_TOKEN, EOS_TOKEN = "<|pad|>", "<|startoftext|>", "<|endoftext|>"
_NUM_BYTES, _NUM_SPECIAL = 256, 3


def train_bpe_tokenizer(
    captions: Iterable[str], vocab_size: int = 4096, context_length: int = 77
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer: lower-cased, every text between a start and an end token, nothing unknown.

    The special tokens have the highest ids, the end token the very highest, as in CLIP: its text tower finds the end
    of a caption by that id, and takes an id of 2 for an old checkpoint's.

    Args:
        captions: the training captions.
        vocab_size: number of tokens, bytes and special tokens included; fewer if the captions yield no more merges,
            so configure the text tower with `len(tokenizer)`.
        context_length: the longest sequence, start and end token included.

    Raises:
        ValueError: `vocab_size` does not hold the bytes and special tokens, or there is no caption.

    Source: byte-level BPE as in GPT-2 (Radford et al. 2019, section 2.2) and CLIP (Radford et al. 2021, section 2.4).
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    if vocab_size < _NUM_BYTES + _NUM_SPECIAL:
        raise ValueError(
            f"vocab_size must be at least {_NUM_BYTES + _NUM_SPECIAL} (bytes, specials), got {vocab_size}"
        )
    captions = list(captions)
    if not captions:
        raise ValueError("A tokenizer cannot be trained on no captions")
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Strip(), normalizers.Lowercase()])
    # The prefix space makes a word one token wherever it stands.
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - _NUM_SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        min_frequency=2,
        show_progress=False,
    )
    backend.train_from_iterator(captions, trainer)
    backend.add_special_tokens([PAD_TOKEN, BOS_TOKEN, EOS_TOKEN])
    backend.post_processor = processors.TemplateProcessing(
        single=f"{BOS_TOKEN} $A {EOS_TOKEN}",
        pair=f"{BOS_TOKEN} $A {EOS_TOKEN} $B:1 {EOS_TOKEN}:1",
        special_tokens=[(token, backend.token_to_id(token)) for token in (BOS_TOKEN, EOS_TOKEN)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD_TOKEN,
        bos_token=BOS_TOKEN,
        eos_token=EOS_TOKEN,
        model_max_length=context_length,
        model_input_names=["input_ids", "attention_mask"],
    )


def load_clip_tokenizer(folder: str | os.PathLike, context_length: int = 77) -> CLIPTokenizer:
    """CLIP's tokenizer from its `vocab.json` and `merges.txt` in a folder.

    Raises:
        ValueError: a file is missing.
    """
    files = {name: Path(folder) / name for name in ("vocab.json", "merges.txt")}
    missing = [name for name, path in files.items() if not path.is_file()]
    if missing:
        raise ValueError(f"{os.fspath(folder)} lacks {' and '.join(missing)}: CLIP's tokenizer needs both")
    return CLIPTokenizer(
        vocab=str(files["vocab.json"]), merges=str(files["merges.txt"]), model_max_length=context_length
    )
