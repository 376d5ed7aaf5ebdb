# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Everything that a run of pretrain.py needs before its first step."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from command_line import UserError
from pretrain_checks import check_arguments, check_output_dir, check_resumed_flags, check_towers_take_the_data
from pretrain_data import build_loader, build_processor, evaluation_prompts, image_side, training_captions
from pretrain_finetune import build_run_data
from pretrain_model import build_tokenizer_and_model
from pretrain_objective import build_objective
from pretrain_results import start_output_dir
from pretrain_stream import build_stream_loader, is_streamed, size_of


@dataclass
class Run:
    """What the training loop works with.

    Args:
        model: prepared by Accelerate, under several processes in DistributedDataParallel.
        bare_model: the [`CloobModel`] inside.
        auxiliary: the `TrainingObjective` that holds the model; None if the model itself is trained.
        evaluate: (model, processor, final) -> flat metrics, see `build_data`.
        loader: batches of this process, from the step on that `state` has.
        memory_format: of the model's and the batch's tensors.
        frozen_text: texts -> pooled states of a locked text tower; None where the text tower trains.
    """

    args: Any
    output_dir: Path
    accelerator: Any
    model: Any
    bare_model: Any
    auxiliary: Any
    processor: Any
    optimizer: Any
    schedule: Any
    state: Any
    loader: Any
    memory_format: Any
    frozen_text: Callable | None
    evaluate: Callable
    log: Any


def start_run(args) -> Run:
    """Check the flags, build or resume everything, and open the output folder; every process must call.

    Raises:
        ValueError: for whatever the user can mend.
    """
    import torch
    from accelerate.utils import set_seed

    from hf_cloob.data.npm_packages import default_cache_dir
    from hf_cloob.encoding import context_length
    from hf_cloob.training.activation_checkpointing import recompute_activations
    from hf_cloob.training.checkpointing import TrainState
    from hf_cloob.training.frozen_towers import PooledTextCache
    from hf_cloob.training.optimization import build_schedule
    from hf_cloob.training.run_log import RunLog

    output_dir = Path(args.output_dir)
    check_arguments(args)
    check_output_dir(args, output_dir)
    accelerator = build_accelerator(args, output_dir)
    set_seed(args.seed)

    with accelerator.main_process_first():
        train_data, evaluate = build_run_data(args)
    if args.num_epochs:
        args.max_train_steps = steps_of_epochs(args, epoch_size(args, train_data))
    tokenizer, model = build_tokenizer_and_model(args, train_data)
    processor, transforms = build_processor(args, tokenizer)
    check_towers_take_the_data(model, processor, image_side(processor.image_processor))
    max_length = context_length(model.config.text_config, tokenizer)
    frozen_text = None
    if args.freeze_text_model:
        kept = {"cache_dir": default_cache_dir() / "text_states" if args.keep_text_states else None}
        frozen_text = PooledTextCache(model, tokenizer, max_length, training_captions(train_data), **kept)
        # Apart from the captions: a sentence's last bits depend on the block it is encoded with.
        prompt_states = PooledTextCache(model, tokenizer, max_length, evaluation_prompts(args), **kept)
        evaluate = partial(evaluate, pooled_prompt_states=prompt_states)
    if args.activation_checkpointing:
        recompute_activations(model)
    memory_format = torch.channels_last if args.channels_last else torch.contiguous_format
    bare_model = model.to(memory_format=memory_format)
    objective = build_objective(args, bare_model)

    optimizer = build_run_optimizer(args, objective, bare_model)
    schedule = build_schedule(
        optimizer,
        args.lr_scheduler,
        args.max_train_steps,
        args.warmup_steps,
        args.num_cycles,
        args.min_learning_rate,
    )
    model, optimizer = accelerator.prepare(objective, optimizer)
    # The weights are drawn alike; from here on each process drops out its own units.
    set_seed(args.seed, device_specific=True)

    state = TrainState()
    accelerator.register_for_checkpointing(schedule, state)
    if args.resume_from_checkpoint:
        resume(args, accelerator, state, output_dir)
    if is_streamed(args):
        loader = build_stream_loader(args, train_data, tokenizer, transforms, max_length, state, accelerator)
    else:
        loader = build_loader(args, train_data, tokenizer, transforms, max_length, state.step, accelerator)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        start_output_dir(args, output_dir, state.step)
    accelerator.wait_for_everyone()
    accelerator.init_trackers("hf_cloob", config={key: str(value) for key, value in asdict(args).items()})
    log = RunLog(accelerator, output_dir / "train_log.jsonl", state.step)
    accelerator.print(
        f"{accelerator.num_processes} process(es), {accelerator.device.type}, {size_of(train_data)}, "
        f"{torch.get_num_threads()} thread(s) a process"
    )
    return Run(
        args=args,
        output_dir=output_dir,
        accelerator=accelerator,
        model=model,
        bare_model=bare_model,
        auxiliary=None if objective is bare_model else objective,
        processor=processor,
        optimizer=optimizer,
        schedule=schedule,
        state=state,
        loader=loader,
        memory_format=memory_format,
        frozen_text=frozen_text,
        evaluate=evaluate,
        log=log,
    )


def epoch_size(args, train_data) -> int:
    """Pairs in an epoch; the flags must say how many of streamed data are one."""
    if not is_streamed(args):
        return len(train_data)
    if args.train_num_samples is None:
        raise UserError("num_epochs of streamed data needs train_num_samples, the number of pairs in an epoch")
    return args.train_num_samples


def steps_of_epochs(args, num_pairs: int) -> int:
    """Optimizer steps of `num_epochs` of so many pairs."""
    return max(1, round(args.num_epochs * num_pairs / (args.batch_size * args.gradient_accumulation_steps)))


def build_run_optimizer(args, objective, model):
    """AdamW of the flags: each tower and layer of the model may have its own rate, heads have learning_rate."""
    from hf_cloob.training.layer_rates import layer_learning_rates
    from hf_cloob.training.optimization import build_optimizer

    tower_rates = (args.text_learning_rate, args.vision_learning_rate)
    rates = layer_learning_rates(model, args.learning_rate, *tower_rates, args.layer_decay)
    if objective is not model:
        of_heads = {name: args.learning_rate for name, _ in objective.named_parameters()}
        rates = of_heads | {f"model.{name}": rate for name, rate in rates.items()}
    betas = (args.adam_beta1, args.adam_beta2)
    return build_optimizer(objective, args.learning_rate, args.weight_decay, betas, args.adam_epsilon, rates)


def build_accelerator(args, output_dir: Path):
    """An Accelerator that has joined every process that was started."""
    import torch
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    accelerator = Accelerator(
        # Under torchrun without a GPU, Accelerate would take each process for the only one.
        cpu=not torch.accelerator.is_available(),
        mixed_precision=args.mixed_precision,
        gradient_accumulation_steps=args.gradient_accumulation_steps,
        log_with=args.report_to,
        project_dir=str(output_dir),
        # The main process evaluates alone while the others wait for it.
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=6))],
    )
    if int(os.environ.get("WORLD_SIZE", 1)) != accelerator.num_processes:
        raise UserError(
            f"{os.environ['WORLD_SIZE']} processes were started, Accelerate joins {accelerator.num_processes}: "
            "set up the devices with `accelerate config` and start with `accelerate launch`"
        )
    if accelerator.device.type == "cpu" and launcher_chose_threads():
        torch.set_num_threads(max(1, available_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))
    return accelerator


def launcher_chose_threads() -> bool:
    """Whether this process has one thread because its launcher said so, and not the user.

    `accelerate launch`, and torchrun for several processes, set OMP_NUM_THREADS=1 where it is not set. They are this
    process's parent, whose own environment still is the one that the user started it with.
    """
    import psutil

    is_launched = "ACCELERATE_MIXED_PRECISION" in os.environ or "TORCHELASTIC_RUN_ID" in os.environ
    if not is_launched or os.environ.get("OMP_NUM_THREADS") != "1":
        return False
    try:
        return "OMP_NUM_THREADS" not in psutil.Process(os.getppid()).environ()
    except psutil.Error:
        return False


def available_cores() -> int:
    """Physical cores that this process may use, as torch counts them where nothing is set."""
    import psutil

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(allowed, psutil.cpu_count(logical=False) or allowed)


def resume(args, accelerator, state, output_dir: Path) -> None:
    """Load the checkpoint that the flags name, if it is one of this very run."""
    from hf_cloob.training.checkpointing import find_checkpoint

    checkpoint = find_checkpoint(args.resume_from_checkpoint, output_dir / "checkpoints")
    check_resumed_flags(args, checkpoint)
    accelerator.load_state(str(checkpoint))
    if not (output_dir / "config.json").is_file():
        # Another folder than the checkpoint's: the best model of before is not here.
        state.best_metric, state.best_step = float("-inf"), 0
