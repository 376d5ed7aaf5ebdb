# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Mistakes in the flags of pretrain.py, found before anything is trained."""

import difflib
import json
from dataclasses import asdict, fields
from pathlib import Path

from command_line import UserError, user_errors
from pretrain_objective import check_auxiliary_flags

AT_LEAST = {
    "batch_size": 2,
    "micro_batch_size": 0,
    "gradient_accumulation_steps": 1,
    "max_train_steps": 1,
    "eval_steps": 1,
    "save_steps": 1,
    "save_total_limit": 1,
    "logging_steps": 1,
    "image_size": 1,
    "num_workers": 0,
    "retrieval_warmup_steps": 0,
    "min_learning_rate": 0,
    "num_strong_views": 0,
    "lora_rank": 0,
    "max_known_loss": 0,
    "shuffle_buffer_size": 1,
    "max_bad_fraction": 0,
}
ABOVE_ZERO = ("learning_rate", "max_grad_norm", "inverse_temperature", "num_epochs")
# What is said of the checkpoint that training starts from.
NEED_CHECKPOINT = ("lora_rank", "interpolate_with_start", "known_dataset_name")
LENGTHS = {"crop_scale": 2, "strong_crop_scale": 2, "color_jitter": 4, "image_mean": 3, "image_std": 3}
CHOICES = {
    "image_augmentation": ("weak", "strong"),
    "text_augmentation": ("none", "weak", "strong"),
    "strong_text_augmentation": ("none", "weak", "strong"),
}
STRONG_AUGMENTATION = (
    "strong_crop_scale",
    "color_jitter",
    "color_jitter_probability",
    "grayscale",
    "blur",
    "solarize",
    "strong_horizontal_flip",
)
EXCLUSIVE = (
    ("vision_model_name_or_path", "vision_config"),
    ("text_model_name_or_path", "text_config"),
    ("model_name_or_path", "vision_model_name_or_path"),
    ("model_name_or_path", "text_model_name_or_path"),
    ("model_name_or_path", "vision_config"),
    ("model_name_or_path", "text_config"),
)
# A checkpoint continues its own run; only these flags may differ.
FREE_ON_RESUME = (
    "output_dir",
    "overwrite_output_dir",
    "resume_from_checkpoint",
    "max_train_steps",
    "eval_steps",
    "save_steps",
    "save_total_limit",
    "logging_steps",
    "report_to",
    "num_workers",
    "keep_decoded",
    "max_bad_fraction",
    "keep_text_states",
)
FIXED_BY_CHECKPOINT = ("projection_dim", "projection_type", "text_pooling")


def check_arguments(args) -> None:
    """Refuse values that could only fail, or be ignored, later."""
    from accelerate.tracking import get_available_trackers

    for name, least in AT_LEAST.items():
        value = getattr(args, name)
        if value is not None and value < least:
            raise UserError(f"{name} must be at least {least}, got {value}")
    for name in ABOVE_ZERO:
        value = getattr(args, name)
        if value is not None and not value > 0:
            raise UserError(f"{name} must be above 0, got {value}")
    if not args.model_name_or_path:
        for name in NEED_CHECKPOINT:
            if getattr(args, name):
                raise UserError(f"{name} needs model_name_or_path, the checkpoint to start from")
        if args.contrastive_loss == "auto":
            raise UserError("contrastive_loss 'auto' is that of a checkpoint: it needs model_name_or_path")
    knows = args.known_dataset_name or (args.dataset_name == "emoji" and args.emoji_families is not None)
    if args.interpolate_with_start and not knows:
        raise UserError("interpolate_with_start needs a known task that it must keep: name one by known_dataset_name")
    if args.lora_rank and args.freeze_text_model and args.freeze_vision_model:
        raise UserError("lora_rank adapts the towers that train, and both are frozen")
    if args.tau_free_loss and args.contrastive_loss != "infoloob":
        raise UserError(f"tau_free_loss works with contrastive_loss infoloob only, got {args.contrastive_loss!r}")
    for name, length in LENGTHS.items():
        values = getattr(args, name)
        if values is not None and len(values) != length:
            raise UserError(f"{name} takes {length} numbers, got {values}")
    for name, choices in CHOICES.items():
        if getattr(args, name) not in choices:
            raise UserError(f"{name} must be one of {', '.join(choices)}, got {getattr(args, name)!r}")
    check_augmentation(args)
    check_auxiliary_flags(args)
    trackers = [*(str(tracker) for tracker in get_available_trackers()), "all"]
    if args.report_to and args.report_to not in trackers:
        raise UserError(f"report_to must be an installed tracker, {' or '.join(trackers)}, got {args.report_to!r}")
    if args.dataset_name == "emoji" and args.validation_split:
        raise UserError(f"validation_split {args.validation_split!r} does not go with emoji, which has its own")
    for first, second in EXCLUSIVE:
        if getattr(args, first) and getattr(args, second):
            raise UserError(f"{first} and {second} exclude each other; an empty value switches off what a recipe sets")


def check_augmentation(args) -> None:
    """Refuse flags of an augmentation that nothing would get."""
    if args.augment_on_device and not args.num_strong_views:
        raise UserError("augment_on_device makes strong views: it needs num_strong_views of at least 1, got 0")
    if args.image_augmentation == "weak" and not args.num_strong_views:
        defaults = type(args)()
        for name in STRONG_AUGMENTATION:
            if getattr(args, name) != getattr(defaults, name):
                raise UserError(
                    f"{name}={getattr(args, name)} belongs to the strong augmentation: set image_augmentation strong, "
                    "or num_strong_views"
                )


def check_output_dir(args, output_dir: Path) -> None:
    """Refuse to train over another run unless told to."""
    held = [name for name in ("config.json", "checkpoints") if (output_dir / name).exists()]
    if held and not (args.overwrite_output_dir or args.resume_from_checkpoint):
        raise UserError(
            f"output_dir {output_dir} holds {'a model' if 'config.json' in held else 'checkpoints'}: pass another "
            "folder, --resume_from_checkpoint last, or --overwrite_output_dir true"
        )


def check_resumed_flags(args, checkpoint: Path) -> None:
    """Refuse flags that differ from those of the run that wrote the checkpoint."""
    recorded = checkpoint.parent.parent / "arguments.json"
    if not recorded.is_file():
        return
    before = json.loads(recorded.read_text(encoding="utf-8"))
    changed = [
        f"{name} was {before[name]!r}, now {value!r}"
        for name, value in asdict(args).items()
        if name in before and name not in FREE_ON_RESUME and before[name] != value
    ]
    if changed:
        raise UserError(f"{checkpoint} continues a run with its own flags: {'; '.join(changed)}")


def check_checkpoint_flags(args, config) -> None:
    """Refuse flags that contradict the checkpoint that training starts from."""
    defaults = {field.name: field.default for field in fields(args)}
    for name in FIXED_BY_CHECKPOINT:
        value, own = getattr(args, name), getattr(config, name)
        if value not in (own, defaults[name]):
            raise UserError(f"{name}={value!r} contradicts {args.model_name_or_path}, whose {name} is {own!r}")


def check_towers_take_the_data(model, processor, image_size: int) -> None:
    """Run one caption and one picture, so that a tower that cannot take them says so now."""
    from PIL import Image

    num_tokens, vocab_size = len(processor.tokenizer), getattr(model.config.text_config, "vocab_size", None)
    if vocab_size is not None and num_tokens > vocab_size:
        raise UserError(f"the tokenizer has {num_tokens} tokens, the text tower only {vocab_size}: they do not match")
    with user_errors("the text tower on a caption:"):
        model.encode_texts(["a"], processor)
    with user_errors(f"image_size {image_size}:"):
        model.encode_images([Image.new("RGB", (image_size, image_size))], processor)


def tower_config(side: str, text: str | None, **derived) -> dict:
    """A tower's configuration from its flag; what follows from the data is filled in where the flag leaves it open."""
    from transformers import CONFIG_MAPPING

    try:
        config = json.loads(text) if text else {"model_type": f"clip_{side}_model"}
    except json.JSONDecodeError as error:
        raise UserError(f"{side}_config must be JSON, got {text!r}: {error}") from None
    if not isinstance(config, dict) or "model_type" not in config:
        raise UserError(f"{side}_config must be an object with a model_type of transformers, got {config}")
    model_type = config["model_type"]
    if model_type not in CONFIG_MAPPING:
        raise UserError(
            f"{side}_config: transformers has no model_type {model_type!r}{_hint(model_type, CONFIG_MAPPING)}"
        )
    known = CONFIG_MAPPING[model_type]()
    for name in config:
        if not hasattr(known, name):
            raise UserError(f"{side}_config: a {model_type!r} configuration has no {name!r}{_hint(name, vars(known))}")
    return {**derived, **config}


def _hint(name: str, known) -> str:
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
