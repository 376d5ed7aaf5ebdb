# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The tokenizer and the model that pretrain.py trains, from its flags."""

import math
from pathlib import Path

from command_line import UserError, user_errors
from pretrain_checks import check_checkpoint_flags, tower_config
from pretrain_data import training_captions


def build_tokenizer_and_model(args, train_data):
    """The tokenizer and a CloobModel, from a checkpoint, from pretrained towers or from configurations."""
    from transformers import AutoConfig, AutoTokenizer

    from hf_cloob import CloobModel
    from hf_cloob.data.tokenizers import train_bpe_tokenizer
    from hf_cloob.training.frozen_towers import freeze

    text_path = packaged_folder(args.text_model_name_or_path)
    tokenizer_path = packaged_folder(args.tokenizer_name_or_path) or text_path or args.model_name_or_path
    if tokenizer_path:
        with user_errors(f"tokenizer {tokenizer_path!r}:"):
            tokenizer = AutoTokenizer.from_pretrained(tokenizer_path)
    else:
        tokenizer = train_bpe_tokenizer(training_captions(train_data), args.vocab_size)

    objective = {
        "contrastive_loss": args.contrastive_loss,
        "hopfield_scale": parse_hopfield_scale(args.hopfield_scale),
        "learn_logit_scale": args.learn_logit_scale,
        "alignment_weight": args.alignment_weight,
        "uniformity_weight": args.uniformity_weight,
        "cross_modal_uniformity_weight": args.cross_modal_uniformity_weight,
        "label_smoothing": args.label_smoothing,
    }
    if args.inverse_temperature is not None:
        objective["logit_scale_init_value"] = math.log(args.inverse_temperature)
    paths = {"model": args.model_name_or_path, "vision_model": args.vision_model_name_or_path, "text_model": text_path}
    model_types = {}
    for flag, path in paths.items():
        with user_errors(f"{flag}_name_or_path {path!r}:"):
            model_types[flag] = AutoConfig.from_pretrained(path).model_type if path else None
    if model_types["model"] == "clip":
        model = CloobModel.from_clip(args.model_name_or_path, **objective)
    elif args.model_name_or_path:
        model = load_cloob(args.model_name_or_path, objective)
    else:
        model = CloobModel.from_vision_text_pretrained(
            args.vision_model_name_or_path or tower_config("vision", args.vision_config, image_size=args.image_size),
            text_path or tower_config("text", args.text_config, **token_fields(tokenizer)),
            projection_dim=args.projection_dim,
            projection_type=args.projection_type,
            text_pooling=args.text_pooling,
            **objective,
        )
    if args.model_name_or_path:
        check_checkpoint_flags(args, model.config)
    for frozen, tower in ((args.freeze_text_model, model.text_model), (args.freeze_vision_model, model.vision_model)):
        if frozen:
            freeze(tower)
    return tokenizer, model


def load_cloob(name_or_path: str, objective: dict):
    """The weights of a CLOOB checkpoint under the objective of the flags; its scale stays unless they give one."""
    from hf_cloob import CloobConfig, CloobModel

    config = CloobConfig(**CloobConfig.from_pretrained(name_or_path).to_dict() | objective)
    model = CloobModel.from_pretrained(name_or_path, config=config)
    if "logit_scale_init_value" in objective:
        model.log_inverse_temperature.data.fill_(objective["logit_scale_init_value"])
    return model


def parse_hopfield_scale(value: str) -> float | str | None:
    """'auto', 'none' or a number."""
    if value.lower() in ("auto", "none"):
        return "auto" if value.lower() == "auto" else None
    try:
        return float(value)
    except ValueError:
        raise UserError(f"hopfield_scale must be a number, 'auto' or 'none', got {value!r}") from None


def packaged_folder(name: str | None) -> str | None:
    """Resolve 'package:NAME/FOLDER' to a folder inside an installed Python package; other names stay as they are."""
    if name is None or not name.startswith("package:"):
        return name
    from importlib.util import find_spec

    package, _, folder = name.removeprefix("package:").partition("/")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"{name!r} needs the Python package {package!r}: pip install 'hf_cloob[emoji]'")
    return str(Path(spec.submodule_search_locations[0]) / folder)


def token_fields(tokenizer) -> dict:
    """What a text tower from scratch must know of its tokenizer."""
    special = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return {"vocab_size": len(tokenizer), **{name: value for name, value in special.items() if value is not None}}
