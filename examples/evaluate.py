# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Evaluate a CLOOB, CLIP or SigLIP checkpoint: zero-shot, retrieval, probes, geometry and arithmetic.

    python examples/evaluate.py runs/emoji_cloob --suite emoji
    python examples/evaluate.py CHECKPOINT --suite imagenet --dataset_name FOLDER
    python examples/evaluate.py CHECKPOINT --suite classification --dataset_name FOLDER --train_split train
    python examples/evaluate.py CHECKPOINT --suite coco --dataset_name FOLDER --annotation_file dataset_coco.json
    python examples/evaluate.py CHECKPOINT ANOTHER --suite geometry
    python examples/evaluate.py CHECKPOINT --suite arithmetic
    torchrun --nproc_per_node 8 examples/evaluate.py CHECKPOINT --suite emoji

A checkpoint is a folder or a Hub id. A suite is `emoji`, a standard one (see hf_cloob/evaluation/suite_data), or
`classification` or `retrieval` for data of your own, or `geometry`: where images and texts lie, on the emoji or on
captioned data, for several checkpoints side by side, or `arithmetic`: image + lambda (text - text) among the emoji.
A dataset is a Hub id, a folder of class folders, a table that `datasets` reads, VOC2007, or tar shards in
CLIP_benchmark's layout. Embeddings are computed once, by all processes together, and kept for the next evaluation of
the same weights on the same data. Writes one flat `metrics.json`, the flags into `arguments.json`, and pictures:
contact_sheet.png and confusion.png of classes, retrieval.png of captions, geometry.png and geometry.html,
arithmetic.png.
"""

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path

from command_line import UserError, parse_arguments, user_errors


@dataclass
class EvaluateArguments:
    """Flags of evaluate.py."""

    checkpoint: list[str] = field(
        default_factory=lambda: ["runs/emoji_cloob"],
        metadata={"help": "folder or Hub id of a dual encoder; several for suite geometry"},
    )
    suite: str = field(
        default="emoji",
        metadata={"help": "emoji, a standard suite, classification, retrieval, geometry or arithmetic"},
    )
    output_dir: str = field(default="runs/evaluation", metadata={"help": "folder of metrics.json and pictures"})
    pictures: bool = field(default=True, metadata={"help": "draw contact sheet, confused classes and retrieval"})

    dataset_name: str | None = field(
        default=None, metadata={"help": "Hub dataset or folder (not for emoji and arithmetic)"}
    )
    dataset_config: str | None = field(default=None, metadata={"help": "configuration name of the Hub dataset"})
    dataset_split: str | None = field(default=None, metadata={"help": "split to evaluate on; default: the suite's"})
    train_split: str | None = field(default=None, metadata={"help": "split the probes learn from; default: no probes"})
    suite_folder: str | None = field(
        default=None, metadata={"help": "folder of classnames.txt and zeroshot_classification_templates.txt"}
    )
    image_column: str = field(default="image", metadata={"help": "column of the images"})
    label_column: str = field(default="label", metadata={"help": "column of the classes"})
    label_order: str = field(
        default="names", metadata={"help": "how labels are read: names, or suite for its numbers"}
    )
    caption_column: str = field(default="caption", metadata={"help": "column of captions, strings or lists"})
    file_list: str | None = field(default=None, metadata={"help": "file that lists a folder's images of the split"})
    annotation_file: str | None = field(default=None, metadata={"help": "Karpathy's JSON file, for coco, flickr30k"})

    linear_probe: bool = field(default=True, metadata={"help": "logistic regression, where there is training data"})
    knn: bool = field(default=True, metadata={"help": "nearest neighbors, where there is training data"})
    num_neighbors: int = field(default=20, metadata={"help": "neighbors that vote"})

    batch_size: int = field(default=64, metadata={"help": "images or texts in one pass of a process"})
    num_workers: int = field(default=2, metadata={"help": "processes that read images, for each process"})
    dtype: str = field(default="float32", metadata={"help": "precision of the model: float32, bfloat16 or float16"})
    cache_embeddings: bool = field(default=True, metadata={"help": "keep embeddings on disk and use kept ones"})
    cache_dir: str | None = field(default=None, metadata={"help": "their folder; default: $HF_CLOOB_CACHE/embeddings"})
    trust_remote_code: bool = field(default=False, metadata={"help": "run a Hub model's own code"})


def main() -> None:
    args = parse_arguments(EvaluateArguments, __doc__.split("\n\n")[0], positional="checkpoint")
    try:
        evaluate(args)
    except UserError as error:
        raise SystemExit(f"evaluate.py: {error}") from None


def evaluate(args: EvaluateArguments) -> dict:
    """Embed, measure and write metrics.json; returns what it holds (on the main process)."""
    from datetime import timedelta

    import torch
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs
    from evaluation_geometry import compare_geometry
    from evaluation_measures import MEASURES

    task = check_arguments(args)
    with user_errors():
        accelerator = Accelerator(
            # Without it the processes that torchrun starts on a machine without accelerators would not join.
            cpu=not torch.accelerator.is_available(),
            # The main process fits the probes alone while the others wait for it.
            kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=6))],
        )
        if not accelerator.is_main_process:
            # Each process meets the same broken pictures and missing classes.
            logging.getLogger("hf_cloob").setLevel(logging.ERROR)
        # One after the other: each is built when its turn comes.
        encoders = (load_encoder(args, checkpoint, task, accelerator) for checkpoint in args.checkpoint)
        if task == "geometry":
            with accelerator.main_process_first():
                data = LOADERS[task](args)
            metrics, pictures = compare_geometry(args, encoders, data, accelerator.is_main_process)
        else:
            encoder, processor = next(encoders)
            with accelerator.main_process_first():
                data = LOADERS[task](args)
            metrics, pictures = MEASURES[task](args, encoder, processor, data, accelerator.is_main_process)
    if accelerator.is_main_process:
        write_results(args, metrics, pictures if args.pictures else {})
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return metrics


def check_arguments(args: EvaluateArguments) -> str:
    """Say what is wrong with the flags before anything is loaded; returns the suite's task."""
    from evaluation_data import task_of

    task = task_of(args.suite)
    if task != "geometry" and len(args.checkpoint) > 1:
        raise UserError(f"suite {args.suite} takes one checkpoint, got {', '.join(args.checkpoint)}")
    if task in ("emoji", "arithmetic") and args.dataset_name:
        raise UserError(f"dataset_name {args.dataset_name!r} does not go with suite {task}, which has its own data")
    if task not in ("emoji", "arithmetic", "geometry") and not args.dataset_name:
        raise UserError(f"suite {args.suite} needs --dataset_name, a Hub dataset or a folder")
    if args.dtype not in ("float32", "bfloat16", "float16"):
        raise UserError(f"dtype must be float32, bfloat16 or float16, got {args.dtype!r}")
    for name, least in (("batch_size", 1), ("num_workers", 0), ("num_neighbors", 1)):
        if getattr(args, name) < least:
            raise UserError(f"{name} must be at least {least}, got {getattr(args, name)}")
    return task


def load_encoder(args: EvaluateArguments, checkpoint: str, task: str, accelerator):
    """The model, which embeds with all processes and keeps the embeddings, and its processor."""
    from hf_cloob.data.npm_packages import default_cache_dir
    from hf_cloob.evaluation.cached_encoder import CachedEncoder

    model, processor = load_checkpoint(args, checkpoint)
    cache_dir = Path(args.cache_dir) if args.cache_dir else default_cache_dir() / "embeddings"
    encoder = CachedEncoder(
        model.to(accelerator.device),
        cache_dir=cache_dir if args.cache_embeddings else None,
        process_index=accelerator.process_index,
        num_processes=accelerator.num_processes,
        batch_size=args.batch_size,
        num_workers=args.num_workers,
        truncation=task in ("retrieval", "geometry"),
        show_progress=accelerator.is_local_main_process,
    )
    return encoder, processor


def load_checkpoint(args: EvaluateArguments, checkpoint: str):
    """The model and its processor."""
    import torch
    from transformers import AutoModel, AutoProcessor

    import hf_cloob  # noqa: F401  registers the model with transformers' Auto classes

    code = {"trust_remote_code": args.trust_remote_code}
    with user_errors(f"checkpoint {checkpoint!r}:"):
        model = AutoModel.from_pretrained(checkpoint, dtype=getattr(torch, args.dtype), **code)
        processor = AutoProcessor.from_pretrained(checkpoint, **code)
    missing = [name for name in ("image_processor", "tokenizer") if not hasattr(processor, name)]
    if missing:
        raise UserError(f"the checkpoint {checkpoint} has no {' and no '.join(missing)}")
    return model, processor


def load_emoji_data(args: EvaluateArguments):
    from hf_cloob.data.emoji import load_emoji

    return load_emoji()


def load_classification_data(args: EvaluateArguments):
    from evaluation_data import load_classification

    return load_classification(args)


def load_retrieval_data(args: EvaluateArguments):
    from evaluation_data import load_captioned

    return load_captioned(args)


def load_geometry_data(args: EvaluateArguments):
    from evaluation_geometry import load_geometry_pairs

    return load_geometry_pairs(args)


def load_arithmetic_data(args: EvaluateArguments):
    from evaluation_arithmetic import load_arithmetic_data

    return load_arithmetic_data()


def write_results(args: EvaluateArguments, metrics: dict, pictures: dict) -> None:
    """Print the figures, write them and the flags that they were taken with, and draw the pictures."""
    from evaluation_pictures import draw_pictures

    from hf_cloob.training.run_log import write_metrics

    if args.suite not in ("geometry", "arithmetic"):  # which print their own tables, with intervals
        width = max(map(len, metrics))
        for name, value in metrics.items():
            print(f"{name:{width}} {value:.4f}" if isinstance(value, float) else f"{name:{width}} {value}")
    output_dir = Path(args.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    write_metrics(output_dir / "arguments.json", asdict(args))
    write_metrics(output_dir / "metrics.json", metrics)
    drawn = draw_pictures(pictures, output_dir)
    print(f"In {output_dir}: {', '.join(['metrics.json', 'arguments.json', *drawn])}")


LOADERS = {
    "emoji": load_emoji_data,
    "classification": load_classification_data,
    "retrieval": load_retrieval_data,
    "geometry": load_geometry_data,
    "arithmetic": load_arithmetic_data,
}


if __name__ == "__main__":
    main()
