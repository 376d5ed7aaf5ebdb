# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Train the two fusion layers of a retrieval-enhanced model on cached embeddings; the base stays frozen.

    python examples/build_memory.py runs/emoji_cloob --dataset_name emoji --output_dir runs/memory
    accelerate launch examples/train_reco.py --model_name_or_path runs/emoji_cloob --memory_dir runs/memory
    accelerate launch examples/train_reco.py examples/recipes/reco_cc12m.yaml --dataset_name FOLDER_OF_TAR_SHARDS
    accelerate launch examples/train_reco.py examples/recipes/reco_flags.yaml --resume_from_checkpoint last

Training pairs are the memory itself, or a folder in its form (--train_pairs_dir), or a dataset (--dataset_name) that
is embedded into OUTPUT_DIR/train_pairs, and is the memory where no --memory_dir is given. Neighbors of all pairs are
searched once and kept in OUTPUT_DIR/neighbors; a pair's own entry and near-duplicates of its picture are left out. A
share of the pairs, chosen by a hash of their captions, is held out for evaluation. New fusion layers start from the
Hopfield readout that tells some of the training pairs apart best; --fit_readout false starts from the base instead.

The output folder is a Hugging Face model with its processor and its memory; beside it lie `metrics.json`,
`train_log.jsonl` and the resume checkpoints in `checkpoints/`.
"""

import math
import os
import time
from dataclasses import dataclass, field
from typing import ClassVar

from command_line import UserError, parse_arguments, user_errors
from train_reco_results import finish, validate
from train_reco_setup import Run, start_run


@dataclass
class TrainRecoArguments:
    """Flags of train_reco.py; the same names are the keys of a recipe."""

    # A step is one batch: more of them would not be more negatives.
    gradient_accumulation_steps: ClassVar[int] = 1

    output_dir: str = field(default="runs/reco", metadata={"help": "folder of the finished model"})
    overwrite_output_dir: bool = field(default=False, metadata={"help": "allow an output folder that holds a model"})
    resume_from_checkpoint: str | None = field(default=None, metadata={"help": "'last' or a checkpoint's folder"})
    seed: int = field(default=0, metadata={"help": "seed of weights, data order and dropped neighbors"})

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "the base, a CLIP, SigLIP or CLOOB checkpoint; or a RECO one to train on"}
    )
    memory_dir: str | None = field(default=None, metadata={"help": "what is searched; default: the training pairs"})
    train_pairs_dir: str | None = field(
        default=None, metadata={"help": "embedded training pairs, built as a memory is; default: the memory"}
    )
    dataset_name: str | None = field(
        default=None, metadata={"help": "emoji, a Hub dataset or a folder, to embed; several with commas between them"}
    )
    dataset_config: str | None = field(default=None, metadata={"help": "configuration name of the Hub dataset"})
    dataset_split: str = field(default="train", metadata={"help": "split to train on"})
    image_column: str = field(default="image", metadata={"help": "column of the images"})
    caption_column: str = field(default="caption", metadata={"help": "column of captions; of a list the first counts"})
    embed_batch_size: int = field(default=256, metadata={"help": "pairs that a process embeds at a time"})
    validation_share: float = field(
        default=0.05, metadata={"help": "share of pairs held out by their captions' hashes, at most 5,000 pairs"}
    )

    num_neighbors: int | None = field(default=None, metadata={"help": "k; default: 10, or the RECO checkpoint's"})
    near_duplicate_threshold: float = field(
        default=0.95, metadata={"help": "least cosine of two pictures that count as the same, at most 0.999"}
    )
    neighbors_dir: str | None = field(
        default=None, metadata={"help": "folder of the neighbors, which runs may share; default: in output_dir"}
    )
    neighbor_dropout: float = field(default=0.0, metadata={"help": "probability that a neighbor is left out"})
    refine_image: bool | None = field(default=None, metadata={"help": "refine images when scoring; default: true"})
    refine_text: bool | None = field(default=None, metadata={"help": "refine texts when scoring; default: true"})
    fusion_num_heads: int | None = field(default=None, metadata={"help": "default: heads of 64 dimensions"})
    fusion_hidden_dim: int | None = field(default=None, metadata={"help": "default: four times projection_dim"})

    batch_size: int = field(default=4096, metadata={"help": "pairs in the GLOBAL batch; fewer if there are fewer"})
    num_epochs: float = field(default=10.0, metadata={"help": "pairs seen, in multiples of the training pairs"})
    max_train_steps: int | None = field(default=None, metadata={"help": "optimizer steps, instead of num_epochs"})
    fit_readout: bool = field(
        default=True,
        metadata={"help": "start new fusion layers from a readout fitted to training pairs, not from zero"},
    )
    learning_rate: float = field(default=1e-3, metadata={"help": "peak learning rate"})
    readout_learning_rate: float = field(
        default=1e-2, metadata={"help": "peak learning rate of each readout's numbers; a tenth for its matrix"}
    )
    weight_decay: float = field(default=0.1, metadata={"help": "decay of matrices"})
    warmup_ratio: float = field(default=0.05, metadata={"help": "share of the steps in which the rate rises"})
    lr_scheduler: str = field(default="cosine", metadata={"help": "cosine, linear, constant"})
    max_grad_norm: float = field(default=1.0, metadata={"help": "gradient clipping"})
    mixed_precision: str = field(default="no", metadata={"help": "no, bf16 or fp16"})
    num_workers: int = field(default=0, metadata={"help": "processes that gather embeddings, for a GPU"})

    save_memory: bool = field(default=True, metadata={"help": "save the memory with the model"})
    eval_steps: int = field(default=50, metadata={"help": "steps between evaluations on the held-out pairs"})
    save_steps: int = field(default=100, metadata={"help": "steps between resume checkpoints"})
    save_total_limit: int = field(default=2, metadata={"help": "resume checkpoints kept"})
    logging_steps: int = field(default=10, metadata={"help": "steps between lines of the log"})
    report_to: str | None = field(default=None, metadata={"help": "an Accelerate tracker, e.g. tensorboard"})


def main() -> None:
    # Read when torch loads: threads that wait by spinning take the cores from other processes.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    args = parse_arguments(TrainRecoArguments, __doc__.split("\n\n")[0])
    try:
        train_reco(args)
    except UserError as error:
        raise SystemExit(f"train_reco.py: {error}") from None


def train_reco(args: TrainRecoArguments) -> dict:
    """Train, evaluate and save; returns what `metrics.json` holds (on the main process)."""
    run_started = time.perf_counter()
    with user_errors():
        run = start_run(args)
    setup_seconds = time.perf_counter() - run_started
    train(run)
    metrics = {}
    if run.accelerator.is_main_process:
        metrics = finish(run, setup_seconds, time.perf_counter() - run_started - setup_seconds)
    run.accelerator.wait_for_everyone()
    # Before the process group goes: freed after it, DistributedDataParallel holds Python's lock while it waits for
    # gloo's threads, which may be waiting for that lock.
    run.model, run.optimizer = run.accelerator.free_memory(run.model, run.optimizer)
    run.accelerator.end_training()
    return metrics


def train(run: Run) -> None:
    """The training loop, from the step that `run.state` has to the last."""
    from tqdm.auto import tqdm

    from hf_cloob.training.checkpointing import save_checkpoint

    args, accelerator, optimizer, state = run.args, run.accelerator, run.optimizer, run.state
    if state.step == 0:
        # The log begins with what the start does: the fitted readout, or layers that change nothing.
        log_validation(run)
    progress = tqdm(
        total=run.num_steps, initial=state.step, disable=not accelerator.is_local_main_process, unit="step"
    )
    run.bare_model.train()
    started, pairs_since_log = time.perf_counter(), 0
    for batch in run.loader:
        inputs = {name: rows.to(accelerator.device, non_blocking=True) for name, rows in batch.items()}
        # Embeddings that are not finite, above all: the learning rate is the user's.
        with user_errors(f"step {state.step + 1}:"):
            outputs = run.model(**inputs, return_loss=True)
        accelerator.backward(outputs.loss)
        grad_norm = accelerator.clip_grad_norm_(run.model.parameters(), args.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        learning_rate = optimizer.param_groups[0]["lr"]
        run.schedule.step()
        state.step += 1
        pairs_since_log += run.batch_size
        progress.update()
        if state.step % args.logging_steps == 0 or state.step in (1, run.num_steps):
            figures = step_figures(run, outputs) | {
                "lr": learning_rate,
                "grad_norm": float(grad_norm),
                "pairs_per_second": pairs_since_log / (time.perf_counter() - started),
            }
            run.log.write(state.step, figures)
            progress.set_postfix(loss=f"{figures['loss']:.3f}", pairs_per_s=f"{figures['pairs_per_second']:.0f}")
            started, pairs_since_log = time.perf_counter(), 0
        if state.step % args.eval_steps == 0 or state.step == run.num_steps:
            log_validation(run)
            started, pairs_since_log = time.perf_counter(), 0
        if state.step % args.save_steps == 0:
            save_checkpoint(accelerator, run.output_dir / "checkpoints", state.step, args.save_total_limit)
    progress.close()


def log_validation(run: Run) -> None:
    """Write the figures on the held-out pairs to the log; every process must call."""
    if run.accelerator.is_main_process:
        with user_errors(f"held-out pairs at step {run.state.step}:"):
            figures = validate(run)
        run.log.write(run.state.step, figures)
    run.accelerator.wait_for_everyone()


def step_figures(run: Run, outputs) -> dict[str, float]:
    """What the log says about the step's output; a loss that is not finite ends the run."""
    figures = {name: outputs[name].item() for name in outputs if name == "loss" or name.endswith("_loss")}
    if not math.isfinite(figures["loss"]):
        raise UserError(f"the loss is {figures['loss']} at step {run.state.step}: lower learning_rate or use bf16")
    return figures


if __name__ == "__main__":
    main()
