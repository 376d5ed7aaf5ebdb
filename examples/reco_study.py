# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Compare a trained retrieval-enhanced model with the base and with everything that a memory gives without training.

    python examples/reco_study.py --model_name_or_path runs/emoji_cloob --output_dir runs/reco_study --seeds 0 1 2 3 4
    python examples/reco_study.py --model_name_or_path BASE --families openmoji --seeds 0 1 --fusion_family fluent

Queries are flags, which no base saw in pretraining, in each of six styles in turn, and Noto's mammals, person roles
and clothing. The memory holds the other styles of flags under other wordings, the training styles of emoji, and 20,000
icons that distract. A seed decides wordings, distractors, the fusion layers' first weights and the order of training.

All numbers of a control and the best control are chosen on the half "selection", once with its entities in the memory
and once without; figures are of the half "test", whose flags and fine-grained emoji are not trained on. The fusion
layers start from the fitted readout, with a matrix that whitens pictures within entities (`whitened_readout`), and
train on flags of the selection half in the memory's styles, on emoji and on icons, each with and without its entity in
the memory; the matrix knows no other entities. Nothing is chosen about them: both sides are refined. With
--fusion_family the emoji that train are of that family, which is then not in the memory (for a base that was
pretrained without it).

OUTPUT_DIR holds study.json (every figure), metrics.json (means, intervals and differences, flat), table.md, study.png,
timing.json (what a query costs at each size of the memory), and results/ with the tasks that are done: a killed study
goes on where it was. Embeddings are computed once for each base.
"""

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from command_line import UserError, parse_arguments, user_errors

# They decide nothing about one task's figures.
NOT_OF_A_TASK = ("output_dir", "seeds", "families", "noto", "embeds_dir", "embed_batch_size")


@dataclass
class RecoStudyArguments:
    """Flags of reco_study.py."""

    model_name_or_path: str = field(default="runs/emoji_cloob", metadata={"help": "the base"})
    output_dir: str = field(default="runs/reco_study", metadata={"help": "folder of the results"})
    embeds_dir: str | None = field(
        default=None, metadata={"help": "folder of the embeddings, which studies may share; default: in output_dir"}
    )
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4], metadata={"help": "seeds; 2 give an interval"})
    families: list[str] | None = field(default=None, metadata={"help": "styles of flag queries; default: all six"})
    noto: bool = field(default=True, metadata={"help": "also ask for Noto's fine-grained groups"})
    distractors: int = field(default=20_000, metadata={"help": "icons in the memory"})
    icon_pool: int | None = field(default=None, metadata={"help": "icons that distractors come from; default: all"})
    embed_batch_size: int = field(default=256, metadata={"help": "pictures or texts embedded at a time"})

    fusion_family: str | None = field(
        default=None, metadata={"help": "family of emoji that trains the fusion and is left out of the memory"}
    )
    train_distractors: int = field(default=2000, metadata={"help": "distractors that are training pairs too"})
    num_neighbors: int = field(default=10, metadata={"help": "k of what starts from zero; a readout brings its own"})
    near_duplicate_threshold: float = field(
        default=0.985, metadata={"help": "least cosine of pictures that a training pair must not find"}
    )
    neighbor_dropout: float = field(default=0.1, metadata={"help": "probability that a neighbor is left out"})
    steps: int = field(default=60, metadata={"help": "optimizer steps"})
    batch_size: int = field(default=256, metadata={"help": "pairs in a batch; fewer if there are fewer"})
    learning_rate: float = field(default=3e-5, metadata={"help": "peak learning rate"})
    readout_learning_rate: float = field(
        default=1e-3, metadata={"help": "peak learning rate of each readout's numbers; a tenth for its matrix"}
    )
    weight_decay: float = field(default=0.1, metadata={"help": "decay of matrices"})
    warmup_ratio: float = field(default=0.1, metadata={"help": "share of the steps in which the rate rises"})
    max_grad_norm: float = field(default=1.0, metadata={"help": "gradient clipping"})


def main() -> None:
    # Read when torch loads: threads that wait by spinning take the cores from other processes.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    args = parse_arguments(RecoStudyArguments, __doc__.split("\n\n")[0])
    try:
        study(args)
    except UserError as error:
        raise SystemExit(f"reco_study.py: {error}") from None


def study(args: RecoStudyArguments) -> dict:
    """Run what is not done yet and write all results; returns what `metrics.json` holds."""
    from accelerate import Accelerator
    from checkpoints import load_encoder
    from reco_study_embeds import embed_study
    from reco_study_report import write_report
    from transformers.utils.logging import disable_progress_bar

    output_dir = Path(args.output_dir)
    with user_errors():
        check_arguments(args)
        encoder, processor = load_encoder(args.model_name_or_path)
        embeds_dir = Path(args.embeds_dir) if args.embeds_dir else output_dir / "embeds"
        embeds = embed_study(encoder.eval(), processor, embeds_dir, args.icon_pool, args.embed_batch_size)
    disable_progress_bar()
    (output_dir / "results").mkdir(parents=True, exist_ok=True)
    # The matrices are small, and what is timed is a CPU's latency.
    accelerator = Accelerator(cpu=True)
    results = []
    for style in styles(args):
        for seed in args.seeds:
            started = time.perf_counter()
            with user_errors(f"{style}, seed {seed}:"):
                results.append(run_or_read(args, accelerator, encoder, embeds, style, seed, output_dir))
            print(f"{style:14} seed {seed} {time.perf_counter() - started:6.1f} s", flush=True)
    return write_report(results, args, output_dir)


def styles(args: RecoStudyArguments) -> list[str]:
    """The query styles, flags first."""
    from hf_cloob.data.flag_drawings import FLAG_FAMILIES

    return [*(args.families if args.families is not None else FLAG_FAMILIES), *(["noto"] if args.noto else [])]


def check_arguments(args: RecoStudyArguments) -> None:
    """Refuse values that could only fail later."""
    from hf_cloob.data.emoji_protocol import TRAIN_FAMILIES
    from hf_cloob.data.flag_drawings import FLAG_FAMILIES

    unknown = sorted(set(args.families or ()) - set(FLAG_FAMILIES))
    if unknown:
        raise UserError(f"families must be some of {', '.join(FLAG_FAMILIES)}, got {', '.join(unknown)}")
    if args.fusion_family is not None and args.fusion_family not in TRAIN_FAMILIES:
        raise UserError(f"fusion_family must be one of {', '.join(TRAIN_FAMILIES)}, got {args.fusion_family!r}")
    if len(set(args.seeds)) != len(args.seeds) or not args.seeds:
        raise UserError(f"seeds must be different numbers, at least one, got {args.seeds}")
    for name, least in (("distractors", 1), ("train_distractors", 0), ("num_neighbors", 1), ("steps", 1)):
        if getattr(args, name) < least:
            raise UserError(f"{name} must be at least {least}, got {getattr(args, name)}")


def run_or_read(args: RecoStudyArguments, accelerator, base, embeds, style: str, seed: int, output_dir: Path) -> dict:
    """The results of one task, from its file if the same flags have made it before."""
    flags = {name: value for name, value in asdict(args).items() if name not in NOT_OF_A_TASK}
    settings = flags | {"style": style, "seed": seed, "base": embeds.fingerprint}
    path = output_dir / "results" / f"{style}-seed{seed}.json"
    if path.exists():
        done = json.loads(path.read_text(encoding="utf-8"))
        if done["settings"] == settings:
            return done
    result = {"settings": settings, **run_task(args, accelerator, base, embeds, style, seed, output_dir / "logs")}
    aside = path.with_suffix(".unfinished")
    aside.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    os.replace(aside, path)
    return result


def run_task(args: RecoStudyArguments, accelerator, base, embeds, style: str, seed: int, log_dir: Path) -> dict:
    """All figures of one style under one seed, as JSON.

    Returns:
        `methods` (method -> settings, accuracy on the selection half, and for each condition, with the entities in
        the memory and with them removed, accuracies on the test half), `effects`, `costs`, `best_control`, what
        training made of the readout, and sizes.
    """
    from reco_study_effects import measure_costs, measure_effects
    from reco_study_methods import compare, learned_readout, view_of
    from reco_study_tasks import NOTO, build_task, without_entities

    task = build_task(embeds, style, seed, args)
    views = {
        "in_memory": view_of(task, task.memory),
        "removed": view_of(task, without_entities(task, ~task.selection)),
    }
    compared = compare(args, accelerator, base, task, views["in_memory"], log_dir)
    methods = {
        name: {
            "settings": fitted.settings,
            "selection": fitted.accuracy,
            **{condition: compared.right(name, view) for condition, view in views.items()},
        }
        for name, fitted in compared.fitted.items()
    }
    return {
        "methods": methods,
        "effects": {} if style == NOTO else measure_effects(compared, views["in_memory"]),
        "costs": measure_costs(compared.models["reco"], task),
        "best_control": compared.best_control,
        "learned_readout": learned_readout(compared.models["reco"]),
        "memory_entries": len(task.memory),
        "train_pairs": len(task.pairs),
        "test_queries": int((~task.selection).sum()),
    }


if __name__ == "__main__":
    main()
