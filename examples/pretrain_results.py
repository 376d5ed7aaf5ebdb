# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What a run of pretrain.py leaves in its output folder."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path

from command_line import user_errors
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


class SeenSamples:
    """What this process's batches said about their samples since the last `count_seen`."""

    def __init__(self):
        self.num_good = 0
        self.skipped, self.false_negatives = Counter(), Counter()
        self.skipped_at: dict[str, str] = {}
        self.positions: dict[int, dict] = {}

    def add(self, batch: dict) -> None:
        """Take note of a batch that is trained on."""
        self.num_good += len(batch["text"])
        self.skipped.update(batch["skipped"])
        self.false_negatives.update(batch.get("false_negatives", {}))
        self.skipped_at = batch.get("skipped_at", {}) | self.skipped_at
        self.positions |= batch.get("stream_state", {})


def count_seen(state, seen: SeenSamples, max_bad_fraction: float) -> None:
    """Add what all processes have seen since the last call to the run's counts; every process must call.

    Raises:
        UserError: on all of them alike, if more than `max_bad_fraction` of the samples were bad.
    """
    from accelerate.utils import gather_object

    from hf_cloob.data.bad_samples import check_bad_fraction

    for other in gather_object([vars(seen)]):
        state.num_good += other["num_good"]
        for name in ("skipped", "false_negatives"):
            setattr(state, name, dict(Counter(getattr(state, name)) + other[name]))
        state.skipped_at = other["skipped_at"] | state.skipped_at
        state.stream_positions |= other["positions"]
    seen.__init__()
    with user_errors():
        check_bad_fraction(state.num_good, state.skipped, state.skipped_at, max_bad_fraction)


def bad_sample_figures(state) -> dict[str, int]:
    """Skipped samples, by cause too, and for streams how false negatives were kept apart; flat names."""
    from hf_cloob.data.bad_samples import flat_name

    figures = {"skipped_samples": sum(state.skipped.values())}
    figures |= {flat_name(cause): count for cause, count in state.skipped.items()}
    return figures | {f"false_negatives_{name}": count for name, count in state.false_negatives.items()}


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
    metrics |= bad_sample_figures(state)
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
