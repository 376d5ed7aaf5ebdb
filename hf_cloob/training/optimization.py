# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""AdamW with the right no-decay group, and schedules with warm-up."""

from collections.abc import Mapping

import torch
from torch import nn
from transformers import get_scheduler

SCHEDULES = ("cosine", "cosine_with_restarts", "linear", "constant")


def parameter_groups(
    model: nn.Module, weight_decay: float, learning_rates: Mapping[str, float] | None = None
) -> list[dict]:
    """Split the trainable parameters into those that decay and those that do not, and by their learning rates.

    Matrices and convolution kernels decay. Biases, the weights of every normalization layer, scales and single
    vectors such as class embeddings, however many dimensions of size one they are stored with, do not.

    Args:
        model: any module; frozen parameters are left out.
        weight_decay: AdamW's decay of the groups that decay.
        learning_rates: name of the parameter -> its own peak rate, see `layer_learning_rates`; None: the optimizer's.

    Returns:
        groups for an optimizer, with the keys params, weight_decay, names (for logs and tests) and, with
        learning_rates, lr: the highest rate first, of one rate those that decay first.

    Raises:
        ValueError: if no parameter is trainable; KeyError: for one without a rate.

    Source: CLIP and CLOOB train with weight decay 0.1, "none on norms, biases, scales" (released code).
    """
    groups: dict[tuple, dict] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_matrix = sum(size > 1 for size in parameter.shape) >= 2
        decays = is_matrix and "bias" not in name
        own_rate = {} if learning_rates is None else {"lr": learning_rates[name]}
        empty = {"params": [], "weight_decay": weight_decay if decays else 0.0, "names": [], **own_rate}
        group = groups.setdefault((-own_rate.get("lr", 0.0), not decays), empty)
        group["params"].append(parameter)
        group["names"].append(name)
    if not groups:
        raise ValueError("No parameter requires a gradient: nothing would be trained. Unfreeze a tower or projection.")
    return [groups[key] for key in sorted(groups)]


def build_optimizer(
    model: nn.Module,
    learning_rate: float,
    weight_decay: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.98),
    epsilon: float = 1e-6,
    learning_rates: Mapping[str, float] | None = None,
) -> torch.optim.AdamW:
    """AdamW over `parameter_groups`; the defaults are CLIP's for vision transformers.

    Args:
        model: its trainable parameters are optimized.
        learning_rate: peak learning rate.
        weight_decay: decay of matrices and kernels.
        betas: CLOOB's ResNets use (0.9, 0.999).
        epsilon: CLOOB's ResNets use 1e-8.
        learning_rates: name of the parameter -> its own peak rate instead of learning_rate.
    """
    groups = [
        {key: value for key, value in group.items() if key != "names"}
        for group in parameter_groups(model, weight_decay, learning_rates)
    ]
    # One kernel for all tensors: a fifth of the time of AdamW's loops on the CPU, where it is not the default.
    return torch.optim.AdamW(groups, lr=learning_rate, betas=tuple(betas), eps=epsilon, fused=True)


def build_schedule(
    optimizer: torch.optim.Optimizer,
    name: str,
    num_steps: int,
    warmup_steps: int,
    num_cycles: int = 1,
    min_learning_rate: float = 0.0,
) -> torch.optim.lr_scheduler.LRScheduler:
    """Linear warm-up to the peak, then the named schedule to the end of training.

    Args:
        optimizer: its groups' learning rates are the peak.
        name: "cosine" (one half wave to 0), "cosine_with_restarts" (num_cycles hard restarts), "linear", "constant".
        num_steps: optimizer steps of the whole run.
        warmup_steps: steps of the linear warm-up.
        num_cycles: of "cosine_with_restarts"; the released CLOOB code uses 10 over its runs.
        min_learning_rate: where "cosine" ends; the released code of Fini et al. 2023 ends at 1e-5.

    Raises:
        ValueError: for an unknown name, a warm-up that is not shorter than the run, fewer than one cycle, or an end
            that is negative, above the peak or of another schedule.
    """
    if name not in SCHEDULES:
        raise ValueError(f"lr_scheduler must be one of {', '.join(SCHEDULES)}, got {name!r}.")
    if not 0 <= warmup_steps < num_steps:
        raise ValueError(f"warmup_steps must be from 0 to below the number of steps {num_steps}, got {warmup_steps}.")
    if num_cycles < 1:
        raise ValueError(f"num_cycles must be at least 1, got {num_cycles}.")
    peak = max(group["lr"] for group in optimizer.param_groups)
    if not 0 <= min_learning_rate <= peak or (min_learning_rate and name != "cosine"):
        raise ValueError(
            f"min_learning_rate must be from 0 to the peak {peak:g}, and goes with lr_scheduler 'cosine' only, got "
            f"{min_learning_rate} with {name!r}."
        )
    specific = {"num_cycles": num_cycles} if name == "cosine_with_restarts" else None
    if min_learning_rate:
        name, specific = "cosine_with_min_lr", {"min_lr": min_learning_rate}
    return get_scheduler(
        "constant_with_warmup" if name == "constant" else name,
        optimizer,
        num_warmup_steps=warmup_steps,
        num_training_steps=num_steps,
        scheduler_specific_kwargs=specific,
    )
