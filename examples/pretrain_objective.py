# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What pretrain.py trains beside the contrastive loss: from its flags the auxiliary losses, and the figures of h."""

from functools import partial
from pathlib import Path

from command_line import UserError, user_errors

STRONG_HEADS_FILE = "strong_heads.safetensors"
STRONG_HEADS = ("strong_image_head", "strong_text_head")
STRONG_INPUTS = ("strong_pixel_values", "strong_input_ids", "strong_attention_mask")
# Flags that do nothing without strong_pairs or an auxiliary_loss, and what switches each off.
WITHOUT_STRONG_LOSS = {
    "num_strong_views": 0,
    "strong_text_dropout": 0.0,
    "auxiliary_weight": None,
    "auxiliary_head_sizes": None,
}


def auxiliary_settings(args):
    """The `AuxiliarySettings` of the flags, None without strong pairs and auxiliary loss."""
    if not args.strong_pairs and args.auxiliary_loss == "none":
        return None
    from hf_cloob.training.auxiliary_settings import AuxiliarySettings

    auxiliary_sizes = args.auxiliary_head_sizes
    return AuxiliarySettings(
        num_strong_views=args.num_strong_views,
        strong_pairs=args.strong_pairs,
        auxiliary_loss=args.auxiliary_loss,
        auxiliary_weight=args.auxiliary_weight,
        strong_label_smoothing=args.strong_label_smoothing,
        strong_inverse_temperature=args.strong_inverse_temperature,
        strong_text_dropout=args.strong_text_dropout,
        strong_head_sizes=tuple(args.strong_head_sizes),
        auxiliary_head_sizes=None if auxiliary_sizes is None else tuple(auxiliary_sizes),
        ema_momentum=args.ema_momentum,
    )


def check_auxiliary_flags(args) -> None:
    """Refuse auxiliary losses that cannot be had together, or without what they need."""
    with user_errors():
        settings = auxiliary_settings(args)
    if settings is None:
        for name, off in WITHOUT_STRONG_LOSS.items():
            if getattr(args, name) != off:
                raise UserError(
                    f"{name}={getattr(args, name)} does nothing without strong_pairs or an auxiliary_loss: set it to "
                    f"{'none' if off is None else off}, or choose one of them"
                )
    elif args.strong_text_dropout and args.activation_checkpointing:
        raise UserError(
            "strong_text_dropout and activation_checkpointing exclude each other, a recomputed layer would drop other "
            "units: micro_batch_size saves memory as well"
        )
    elif args.strong_text_dropout and args.freeze_text_model:
        raise UserError("strong_text_dropout needs a text tower that trains: freeze_text_model excludes it")


def build_objective(args, model):
    """The module to train: the model itself, or with strong views the model inside its objective."""
    settings = auxiliary_settings(args)
    if settings is None:
        return model
    from hf_cloob.training.objective import TrainingObjective

    with user_errors():
        return TrainingObjective(model, settings)


def save_strong_heads(auxiliary, output_dir: Path) -> None:
    """Keep the strong pairs' heads beside the model that is the best so far; no loader of the model reads them."""
    if auxiliary is None or not auxiliary.settings.uses_strong_head:
        return
    from safetensors.torch import save_file

    tensors = {
        f"{head}.{name}": tensor.contiguous()
        for head in STRONG_HEADS
        for name, tensor in getattr(auxiliary, head).state_dict().items()
    }
    save_file(tensors, output_dir / STRONG_HEADS_FILE)


def two_head_metrics(auxiliary, model, processor, evaluate, output_dir: Path) -> dict[str, float]:
    """Figures of h and of the mixture of both cosines, of the best checkpoint; none without strong heads.

    The weight of the mixture is chosen on the selection data.
    """
    if auxiliary is None or not auxiliary.settings.uses_strong_head:
        return {}
    import copy

    from safetensors.torch import load_file

    from hf_cloob.evaluation.two_heads import TwoHeadEncoder, mixture_report

    tensors = load_file(output_dir / STRONG_HEADS_FILE)
    heads = []
    for name in STRONG_HEADS:
        head = copy.deepcopy(getattr(auxiliary, name))
        own = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
        head.load_state_dict(own)
        heads.append(head.eval())
    # Prompts that were cached for z alone are embedded again.
    evaluate = partial(evaluate, pooled_prompt_states=None)
    return mixture_report(
        TwoHeadEncoder(model, *heads), lambda encoder, final: evaluate(encoder, processor, final=final)
    )
