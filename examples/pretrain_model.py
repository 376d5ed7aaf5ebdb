# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The tokenizer and the model that pretrain.py trains, from its flags."""

import math
from pathlib import Path

from command_line import UserError, user_errors
from pretrain_checks import check_checkpoint_flags, tower_config
from pretrain_data import DEFAULT_IMAGE_SIZE, training_captions

# Where a CLIP or SigLIP that adapters were trained for lies as the CloobModel that they fit.
START_FOLDER = "start"


def build_tokenizer_and_model(args, train_data):
    """The tokenizer and a CloobModel, from a checkpoint, from pretrained towers or from configurations."""
    from transformers import AutoTokenizer

    from hf_cloob import CloobModel
    from hf_cloob.data.tokenizers import train_bpe_tokenizer
    from hf_cloob.training.frozen_towers import freeze
    from hf_cloob.training.lora import add_lora

    text_path = packaged_folder(args.text_model_name_or_path)
    tokenizer_path = packaged_folder(args.tokenizer_name_or_path) or text_path or args.model_name_or_path
    if tokenizer_path:
        with user_errors(f"tokenizer {tokenizer_path!r}:"):
            tokenizer = AutoTokenizer.from_pretrained(tokenizer_path)
    else:
        tokenizer = train_bpe_tokenizer(training_captions(train_data), args.vocab_size)

    if args.model_name_or_path:
        model = start_model(args)
    else:
        for flag, path in {"vision_model": args.vision_model_name_or_path, "text_model": text_path}.items():
            if path:
                model_type_of(f"{flag}_name_or_path", path)
        model = CloobModel.from_vision_text_pretrained(
            args.vision_model_name_or_path
            or tower_config("vision", args.vision_config, image_size=args.image_size or DEFAULT_IMAGE_SIZE),
            text_path or tower_config("text", args.text_config, **token_fields(tokenizer)),
            projection_dim=args.projection_dim,
            projection_type=args.projection_type,
            text_pooling=args.text_pooling,
            **objective_fields(args),
        )
    for frozen, tower in ((args.freeze_text_model, model.text_model), (args.freeze_vision_model, model.vision_model)):
        if frozen:
            freeze(tower)
    if args.lora_rank:
        model = add_lora(
            model, args.lora_rank, args.lora_alpha, args.lora_dropout, args.lora_target_modules, adapter_base(args)
        )
    return tokenizer, model


def objective_fields(args) -> dict:
    """The objective of the flags, as fields of the configuration; under 'auto' those that were given."""
    fields = {
        "contrastive_loss": args.contrastive_loss,
        "hopfield_scale": parse_hopfield_scale(args.hopfield_scale),
        "learn_logit_scale": args.learn_logit_scale,
        "alignment_weight": args.alignment_weight,
        "uniformity_weight": args.uniformity_weight,
        "cross_modal_uniformity_weight": args.cross_modal_uniformity_weight,
        "label_smoothing": args.label_smoothing,
    }
    if args.contrastive_loss == "auto":
        left_open = {"contrastive_loss": "auto", "hopfield_scale": "auto", "learn_logit_scale": None}
        fields = {name: value for name, value in fields.items() if value != left_open.get(name, 0.0)}
    if args.inverse_temperature is not None:
        fields["logit_scale_init_value"] = math.log(args.inverse_temperature)
    return fields


def start_model(args):
    """The model that training starts from: a CLIP, a SigLIP or a CLOOB, its embeddings unchanged."""
    from hf_cloob import CloobModel, cloob_from_siglip

    path, objective = args.model_name_or_path, objective_fields(args)
    model_type = model_type_of("model_name_or_path", path)
    with user_errors(f"model_name_or_path {path!r}:"):
        if model_type == "clip":
            # CLIP's own loss, unless the flags name another.
            model = CloobModel.from_clip(path, **{"contrastive_loss": "infonce"} | objective)
        elif model_type == "siglip":
            model = cloob_from_siglip(path, **objective)
        else:
            model = load_cloob(path, objective)
    check_checkpoint_flags(args, model.config)
    return model


def adapter_base(args) -> str:
    """What an adapter's file names as its base: the checkpoint, or where the run writes it as a CloobModel."""
    is_cloob = model_type_of("model_name_or_path", args.model_name_or_path) == "cloob"
    return args.model_name_or_path if is_cloob else str(Path(args.output_dir, START_FOLDER))


def model_type_of(flag: str, path: str) -> str:
    from transformers import AutoConfig

    with user_errors(f"{flag} {path!r}:"):
        return AutoConfig.from_pretrained(path).model_type


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
