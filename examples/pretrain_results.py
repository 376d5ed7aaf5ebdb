# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What a run of pretrain.py leaves in its output folder."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path

from pretrain_comparison import compare_with_start
from pretrain_objective import STRONG_HEADS_FILE, save_strong_heads, two_head_metrics


def start_output_dir(args, output_dir: Path, step: int) -> None:
    """Record the flags, and delete what this run will write anew."""
    from hf_cloob.training.checkpointing import drop_checkpoints_after
    from hf_cloob.training.run_log import write_metrics

    output_dir.mkdir(parents=True, exist_ok=True)
    drop_checkpoints_after(output_dir / "checkpoints", step)
    for name in ("metrics.json", "timing.json", "training_curves.png", "before_after.md", "interpolation.png"):
        (output_dir / name).unlink(missing_ok=True)
    if step == 0:
        (output_dir / STRONG_HEADS_FILE).unlink(missing_ok=True)
    write_metrics(output_dir / "arguments.json", asdict(args))


def count_skipped(state, skipped: Counter) -> None:
    """Add the samples that all processes have skipped since the last call to the run's; every process must call."""
    from accelerate.utils import gather_object

    state.skipped = dict(sum((Counter(counts) for counts in gather_object([dict(skipped)])), Counter(state.skipped)))
    skipped.clear()


def keep_if_best(model, processor, evaluate, state, log, output_dir: Path, auxiliary=None) -> None:
    """Evaluate on the selection data and save the model, and its strong heads, if it is the best so far."""
    from hf_cloob.training.frozen_towers import train_unfrozen
    from hf_cloob.training.lora import save_merged

    model.eval()
    figures = evaluate(model, processor, final=False)
    train_unfrozen(model)
    log.write(state.step, figures)
    selected = next(iter(figures.values()))
    if selected > state.best_metric:
        state.best_metric, state.best_step = selected, state.step
        save_merged(model, output_dir)
        processor.save_pretrained(output_dir)
        save_strong_heads(auxiliary, output_dir)


def finish(args, processor, evaluate, state, output_dir: Path, accelerator, auxiliary=None) -> dict:
    """Evaluate the best checkpoint on everything and write metrics.json and the curves."""
    from hf_cloob import CloobModel
    from hf_cloob.evaluation.training_curves import training_curves
    from hf_cloob.training.run_log import write_metrics

    model = CloobModel.from_pretrained(output_dir).to(accelerator.device)
    metrics = evaluate(model, processor, final=True)
    metrics |= two_head_metrics(auxiliary, model, processor, evaluate, output_dir)
    if args.model_name_or_path:
        metrics |= compare_with_start(args, model, processor, evaluate, metrics, output_dir)
    metrics |= {"best_step": state.best_step, "steps": state.step, "seed": args.seed}
    metrics |= {"num_processes": accelerator.num_processes}
    metrics |= {"pairs_seen": state.step * args.gradient_accumulation_steps * args.batch_size}
    metrics |= {"skipped_samples": sum(state.skipped.values())}
    write_metrics(output_dir / "metrics.json", metrics)
    try:
        training_curves(output_dir / "train_log.jsonl", output_dir / "training_curves.png")
    except ImportError as error:
        # Nothing that a trained model should be lost for.
        print(f"No training_curves.png: {error}")
    for name, value in metrics.items():
        print(f"{name:45} {value:.4f}" if isinstance(value, float) else f"{name:45} {value}")
    for cause, count in state.skipped.items():
        print(f"skipped samples, {cause}: {count}")
    print(f"The model is in {output_dir}")
    return metrics
