# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints as the commands are given them: a folder or a Hub id of a dual encoder with its processor."""

from command_line import UserError, user_errors

DTYPES = ("float32", "bfloat16", "float16")


def load_encoder(checkpoint: str, dtype: str = "float32", trust_remote_code: bool = False):
    """The dual encoder, of a RECO checkpoint its base, and its processor."""
    import torch
    from transformers import AutoConfig, AutoModel

    import hf_cloob  # noqa: F401  registers the models with transformers' Auto classes

    if dtype not in DTYPES:
        raise UserError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    with user_errors(f"checkpoint {checkpoint!r}:"):
        model_type = AutoConfig.from_pretrained(checkpoint, trust_remote_code=trust_remote_code).model_type
        options = {"load_memory": False} if model_type == "reco" else {}
        model = AutoModel.from_pretrained(
            checkpoint, dtype=getattr(torch, dtype), trust_remote_code=trust_remote_code, **options
        )
    encoder = model.base if model_type == "reco" else model
    missing = [name for name in ("get_image_features", "get_text_features") if not hasattr(encoder, name)]
    if missing:
        raise UserError(f"the checkpoint {checkpoint}, a {model_type!r} model, has no {' and no '.join(missing)}")
    return encoder, load_processor(checkpoint, trust_remote_code)


def load_processor(checkpoint: str, trust_remote_code: bool = False):
    """The checkpoint's image processor and tokenizer."""
    from transformers import AutoProcessor

    with user_errors(f"checkpoint {checkpoint!r}:"):
        processor = AutoProcessor.from_pretrained(checkpoint, trust_remote_code=trust_remote_code)
    missing = [name for name in ("image_processor", "tokenizer") if not hasattr(processor, name)]
    if missing:
        raise UserError(f"the checkpoint {checkpoint} has no {' and no '.join(missing)}")
    return processor
