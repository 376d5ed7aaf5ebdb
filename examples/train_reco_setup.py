# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Everything that a run of train_reco.py needs before its first step."""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from checkpoints import load_processor
from command_line import UserError, user_errors
from pretrain_checks import check_output_dir
from pretrain_results import start_output_dir
from pretrain_setup import build_accelerator, resume
from train_reco_data import RecoData, build_data, build_loader
from train_reco_start import build_fusion_optimizer, start_from_readout

AT_LEAST = {
    "embed_batch_size": 1,
    "num_neighbors": 0,
    "batch_size": 2,
    "max_train_steps": 1,
    "eval_steps": 1,
    "save_steps": 1,
    "save_total_limit": 1,
    "logging_steps": 1,
    "num_workers": 0,
    "weight_decay": 0,
}
ABOVE_ZERO = ("num_epochs", "learning_rate", "readout_learning_rate", "max_grad_norm")
BELOW_ONE = ("validation_share", "neighbor_dropout", "warmup_ratio")
# The configuration's fields that a flag may set.
MODEL_FLAGS = ("num_neighbors", "refine_image", "refine_text", "fusion_num_heads", "fusion_hidden_dim")
FUSION_FILE = "fusion.safetensors"


@dataclass
class Run:
    """What the training loop works with.

    Args:
        model: prepared by Accelerate, under several processes in DistributedDataParallel.
        bare_model: the [`RecoForZeroShot`] inside.
        batch_size: of the global batch; the flag's, or less.
        num_steps: of the whole run.
        loader: batches of this process, from the step on that `state` has.
    """

    args: Any
    output_dir: Path
    accelerator: Any
    model: Any
    bare_model: Any
    processor: Any
    data: RecoData
    batch_size: int
    num_steps: int
    optimizer: Any
    schedule: Any
    state: Any
    loader: Any
    log: Any


def start_run(args) -> Run:
    """Check the flags, build or resume everything, and open the output folder; every process must call.

    Raises:
        ValueError: for whatever the user can mend.
    """
    from accelerate.utils import set_seed

    from hf_cloob.training.checkpointing import TrainState
    from hf_cloob.training.optimization import build_schedule
    from hf_cloob.training.run_log import RunLog

    output_dir = Path(args.output_dir)
    check_arguments(args)
    check_output_dir(args, output_dir)
    accelerator = build_accelerator(args, output_dir)
    if accelerator.is_main_process:
        start_afresh(args, output_dir)
    accelerator.wait_for_everyone()
    set_seed(args.seed)

    processor, (model, is_new) = load_processor(args.model_name_or_path), load_model(args)
    model.to(accelerator.device)
    data = build_data(args, model, processor, accelerator)
    batch_size = settle_batch_size(args.batch_size, data.train_keys, accelerator)
    num_steps = args.max_train_steps or max(1, round(args.num_epochs * len(data.train_rows) / batch_size))

    if is_new and args.fit_readout and model.config.num_neighbors and not args.resume_from_checkpoint:
        start_from_readout(model, data, args.seed)
    optimizer = build_fusion_optimizer(model, args)
    schedule = build_schedule(optimizer, args.lr_scheduler, num_steps, int(args.warmup_ratio * num_steps))
    bare_model = model
    model, optimizer = accelerator.prepare(model, optimizer)
    state = TrainState()
    accelerator.register_for_checkpointing(schedule, state)
    save_fusion_layers_only(accelerator, bare_model)
    if args.resume_from_checkpoint:
        resume(args, accelerator, state, output_dir)
    loader = build_loader(args, data, batch_size, num_steps, state.step, accelerator)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        start_output_dir(args, output_dir, state.step)
    accelerator.wait_for_everyone()
    accelerator.init_trackers("hf_cloob", config={key: str(value) for key, value in asdict(args).items()})
    accelerator.print(
        f"{accelerator.num_processes} process(es), {accelerator.device.type}, {len(data.train_rows)} pairs to train "
        f"on, {len(data.validation_rows)} held out, {len(data.memory)} entries, {num_steps} steps of {batch_size}"
    )
    # A log's lines up to the step stay; a new run begins with one for step 0, which an overwritten run has too.
    log = RunLog(accelerator, output_dir / "train_log.jsonl", state.step or -1)
    return Run(
        args=args,
        output_dir=output_dir,
        accelerator=accelerator,
        model=model,
        bare_model=bare_model,
        processor=processor,
        data=data,
        batch_size=batch_size,
        num_steps=num_steps,
        optimizer=optimizer,
        schedule=schedule,
        state=state,
        loader=loader,
        log=log,
    )


def check_arguments(args) -> None:
    """Refuse values that could only fail, or be ignored, later."""
    from accelerate.tracking import get_available_trackers

    from hf_cloob.retrieval.near_duplicates import LARGEST_RELIABLE_THRESHOLD

    if not args.model_name_or_path:
        raise UserError("pass --model_name_or_path, a CLIP, SigLIP, CLOOB or RECO checkpoint")
    if not (args.memory_dir or args.train_pairs_dir or args.dataset_name):
        raise UserError("pass --memory_dir, which build_memory.py makes, --train_pairs_dir or --dataset_name")
    if args.train_pairs_dir and args.dataset_name:
        raise UserError("train_pairs_dir and dataset_name exclude each other: both are the training pairs")
    for name, least in AT_LEAST.items():
        if (value := getattr(args, name)) is not None and value < least:
            raise UserError(f"{name} must be at least {least}, got {value}")
    for name in ABOVE_ZERO:
        if not getattr(args, name) > 0:
            raise UserError(f"{name} must be above 0, got {getattr(args, name)}")
    for name in BELOW_ONE:
        if not 0 <= getattr(args, name) < 1:
            raise UserError(f"{name} must be from 0 to below 1, got {getattr(args, name)}")
    if not -1 < args.near_duplicate_threshold <= LARGEST_RELIABLE_THRESHOLD:
        raise UserError(
            f"near_duplicate_threshold must be above -1 and at most {LARGEST_RELIABLE_THRESHOLD}, got "
            f"{args.near_duplicate_threshold}: with float16 keys the cosine of a picture with itself is 1 +- 0.001"
        )
    trackers = [*(str(tracker) for tracker in get_available_trackers()), "all"]
    if args.report_to and args.report_to not in trackers:
        raise UserError(f"report_to must be an installed tracker, {' or '.join(trackers)}, got {args.report_to!r}")


def start_afresh(args, output_dir: Path) -> None:
    """Delete what an overwritten run kept in its folder: neighbors of other pairs would be refused."""
    if args.resume_from_checkpoint or not args.overwrite_output_dir:
        return
    if not args.neighbors_dir:
        shutil.rmtree(output_dir / "neighbors", ignore_errors=True)
    if args.dataset_name:
        shutil.rmtree(output_dir / "train_pairs", ignore_errors=True)


def load_model(args):
    """The model in float32 and whether its fusion layers are new, on a base, or those of a RECO checkpoint."""
    import torch
    from transformers import PreTrainedConfig

    from hf_cloob import RecoForZeroShot

    checkpoint, flags = args.model_name_or_path, {name: getattr(args, name) for name in MODEL_FLAGS}
    fields = {name: value for name, value in flags.items() if value is not None}
    with user_errors(f"model_name_or_path {checkpoint!r}:"):
        if PreTrainedConfig.get_config_dict(checkpoint)[0].get("model_type") != "reco":
            return RecoForZeroShot.from_base(checkpoint, **fields), True
        model = RecoForZeroShot.from_pretrained(checkpoint, load_memory=False, dtype=torch.float32)
    for name, value in fields.items():
        if name.startswith("fusion_") and value != getattr(model.config, name):
            raise UserError(f"{name}={value} contradicts {checkpoint}, whose is {getattr(model.config, name)}")
        setattr(model.config, name, value)
    model.config.check_fields()
    return model, False


def settle_batch_size(batch_size: int, keys: list[tuple[str, ...]], accelerator) -> int:
    """The batch size of the flags, or as many pairs as can share a batch."""
    from hf_cloob.data.sampler import largest_batch

    largest = largest_batch(len(keys), keys.__getitem__)
    if largest < 2:
        raise UserError(f"a batch needs 2 pairs of different captions, the {len(keys)} training pairs have {largest}")
    if largest < batch_size:
        accelerator.print(f"batch_size {batch_size} is {largest} here: as many pairs have different captions")
    return min(batch_size, largest)


def save_fusion_layers_only(accelerator, model) -> None:
    """Let resume checkpoints hold what is trained: the base is frozen, and where it was loaded from."""
    from safetensors.torch import load_file, save_file

    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}

    def save(models: list, weights: list, folder: str) -> None:
        weights.clear()
        if accelerator.is_main_process:
            save_file({name: weight.detach() for name, weight in trained.items()}, Path(folder, FUSION_FILE))

    def load(models: list, folder: str) -> None:
        models.clear()
        saved = load_file(Path(folder, FUSION_FILE))
        if saved.keys() != trained.keys():
            raise UserError(f"{folder} is no checkpoint of this model: it holds {', '.join(sorted(saved)[:3])} ...")
        model.load_state_dict(saved, strict=False)

    accelerator.register_save_state_pre_hook(save)
    accelerator.register_load_state_pre_hook(load)
