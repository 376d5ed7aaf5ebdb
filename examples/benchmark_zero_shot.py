# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Time CloobZeroShotPipeline against the stock zero-shot pipeline, on towers of ViT-B/32's size with random weights.

    python examples/benchmark_zero_shot.py
    python examples/benchmark_zero_shot.py --size tiny --rounds 1        # tries the script in seconds

Every round times all cases, in an order that is turned around from round to round, and the medians are compared. The
scores of both pipelines are compared too. Writes `metrics.json` into the output folder.
"""

import itertools
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from command_line import parse_arguments

TEMPLATE = "This is a photo of {}."
TEMPLATES = [
    f"{kind} of {{}}." for kind in ("a photo", "a drawing", "a painting", "a sketch", "art", "a toy", "a logo")
]
COLORS = "red green blue yellow brown black white gray orange pink violet golden silver pale dark bright".split()
THINGS = (
    "apple boat bird house tree river car train dog cat horse flower chair table lamp book shoe hat clock bridge "
    "mountain cloud star moon sun fish bear lion tiger rabbit mouse cow sheep goat wolf fox owl eagle duck goose frog "
    "snake turtle whale shark crab spider bee ant leaf grass stone sand hill road field barn tower castle church "
    "school window door wall roof fence gate"
).split()


@dataclass
class BenchmarkArguments:
    """Flags of benchmark_zero_shot.py."""

    output_dir: str = field(default="runs/benchmark_zero_shot", metadata={"help": "folder of metrics.json"})
    size: str = field(default="base", metadata={"help": "base: towers of ViT-B/32's size; tiny: to try the script"})
    num_labels: int = field(default=259, metadata={"help": "labels in the comparison with the stock pipeline"})
    num_images: int = field(default=128, metadata={"help": "images of a first call"})
    num_stock_images: int = field(default=4, metadata={"help": "images the stock pipeline is timed on in a round"})
    num_many_labels: int = field(default=1000, metadata={"help": "labels in the comparison with the image encoder"})
    batch_size: int = field(default=32, metadata={"help": "images in one pass of the vision tower"})
    rounds: int = field(default=5, metadata={"help": "rounds, of which medians are taken"})
    threads: int = field(default=0, metadata={"help": "CPU threads; 0 leaves torch's number"})
    seed: int = field(default=0, metadata={"help": "seed of weights and images"})


def main() -> None:
    args = parse_arguments(BenchmarkArguments, __doc__.split("\n\n")[0])
    if args.size not in ("base", "tiny"):
        raise SystemExit(f"benchmark_zero_shot.py: size must be base or tiny, got {args.size!r}")
    most = len(COLORS) * len(THINGS)
    if not all(1 <= number <= most for number in (args.num_labels, args.num_many_labels)):
        raise SystemExit(f"benchmark_zero_shot.py: num_labels and num_many_labels must be from 1 to {most}")
    for name in ("num_images", "num_stock_images", "batch_size", "rounds"):
        if getattr(args, name) < 1:
            raise SystemExit(f"benchmark_zero_shot.py: {name} must be at least 1, got {getattr(args, name)}")
    benchmark(args)


def benchmark(args: BenchmarkArguments) -> dict:
    """Time the cases and write metrics.json; returns what it holds."""
    import torch
    from tqdm.auto import tqdm
    from transformers import pipeline

    from hf_cloob import CloobZeroShotPipeline
    from hf_cloob.training.run_log import write_metrics

    if args.threads:
        torch.set_num_threads(args.threads)
    many_labels = [" ".join(pair) for pair in itertools.product(COLORS, THINGS)]
    random.Random(args.seed).shuffle(many_labels)
    labels, many_labels = many_labels[: args.num_labels], many_labels[: args.num_many_labels]
    parts = build_parts(args, many_labels)
    images = build_images(args.num_images, args.seed)
    task = "zero-shot-image-classification"
    ours, stock = pipeline(task, pipeline_class=CloobZeroShotPipeline, **parts), pipeline(task, **parts)
    few = images[: args.num_stock_images]

    def encode_images_alone() -> None:
        for start in range(0, len(images), args.batch_size):
            batch = images[start : start + args.batch_size]
            pixel_values = ours.image_processor(images=batch, return_tensors="pt")["pixel_values"]
            with torch.no_grad():
                ours.model.get_image_features(pixel_values=pixel_values.to(ours.device))

    def first_call() -> None:
        ours.forget_labels()
        ours(images, labels, batch_size=args.batch_size)

    def many(hypothesis_template) -> None:
        ours(images, many_labels, hypothesis_template=hypothesis_template, top_k=5, batch_size=args.batch_size)

    # Seconds are per image: the stock pipeline pays alike for each of them, whatever their number.
    cases: dict[str, tuple[Callable[[], object], int]] = {
        "stock": (lambda: stock(few, candidate_labels=labels), len(few)),
        "stock_batched": (lambda: stock(images, candidate_labels=labels, batch_size=args.batch_size), len(images)),
        "second_call": (lambda: ours(images, labels, batch_size=args.batch_size), len(images)),
        "one_image_call": (lambda: [ours(image, labels) for image in few], len(few)),
        "first_call": (first_call, len(images)),
        "many_labels": (lambda: many(TEMPLATES), len(images)),
        "image_encoder": (encode_images_alone, len(images)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    difference = score_difference(ours(few, labels), stock(few, candidate_labels=labels))
    many(TEMPLATES)
    with tqdm(total=args.rounds * len(cases), unit="case") as progress:
        for number in range(args.rounds):
            order = list(cases) if number % 2 == 0 else list(reversed(cases))
            for name in order:
                progress.set_postfix_str(name)
                # What these calls find embedded, first_call has dropped.
                if name in ("second_call", "one_image_call", "many_labels"):
                    ours.label_embeds(labels, TEMPLATE)
                    ours.label_embeds(many_labels, TEMPLATES)
                run, images_in_run = cases[name]
                started = time.perf_counter()
                run()
                seconds[name].append((time.perf_counter() - started) / images_in_run)
                progress.update()

    medians = {name: statistics.median(values) for name, values in seconds.items()}
    metrics = {
        "second_call_speedup": medians["stock"] / medians["second_call"],
        "one_image_call_speedup": medians["stock"] / medians["one_image_call"],
        "first_call_speedup": medians["stock"] / medians["first_call"],
        "first_call_speedup_over_batched_stock": medians["stock_batched"] / medians["first_call"],
        "many_labels_over_image_encoder": medians["many_labels"] / medians["image_encoder"],
        "largest_score_difference": difference,
        **{f"{name}_seconds_per_image": value for name, value in medians.items()},
        "num_labels": args.num_labels,
        "num_images": args.num_images,
        "num_many_labels": args.num_many_labels,
        "num_templates": len(TEMPLATES),
        "batch_size": args.batch_size,
        "rounds": args.rounds,
        "threads": torch.get_num_threads(),
        "device": str(ours.device),
        "size": args.size,
    }
    for name, value in metrics.items():
        print(f"{name:40} {value:.6g}" if isinstance(value, float) else f"{name:40} {value}")
    output_dir = Path(args.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    write_metrics(output_dir / "metrics.json", metrics)
    return metrics


def build_parts(args: BenchmarkArguments, labels: list[str]) -> dict:
    """A random CLOOB, a tokenizer trained on the prompts and CLIP's image processor, as `pipeline` takes them."""
    import torch
    from transformers import CLIPImageProcessor

    from hf_cloob import CloobConfig, CloobModel
    from hf_cloob.data.tokenizers import train_bpe_tokenizer

    torch.manual_seed(args.seed)
    tokenizer = train_bpe_tokenizer(
        [template.format(label) for template in [TEMPLATE, *TEMPLATES] for label in labels]
    )
    tiny = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    tower = tiny if args.size == "tiny" else {}
    # CLIP's own vocabulary: the embedding table counts for a checkpoint's size, if not for its speed.
    ends = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
    text = {"model_type": "clip_text_model", **tower, **ends, "pad_token_id": tokenizer.pad_token_id}
    model = CloobModel(CloobConfig(text_config=text, vision_config={"model_type": "clip_vision_model", **tower}))
    return {"model": model.eval(), "tokenizer": tokenizer, "image_processor": CLIPImageProcessor()}


def build_images(number: int, seed: int) -> list:
    """Pictures of noise in a common size of photographs."""
    import numpy
    from PIL import Image

    generator = numpy.random.default_rng(seed)
    return [Image.fromarray(generator.integers(0, 256, (256, 320, 3), dtype=numpy.uint8)) for _ in range(number)]


def score_difference(answers: list[list[dict]], expected: list[list[dict]]) -> float:
    """The largest difference of a label's score between two pipelines' answers."""
    pairs = zip(answers, expected, strict=True)
    scores = [
        ({r["label"]: r["score"] for r in answer}, {r["label"]: r["score"] for r in other}) for answer, other in pairs
    ]
    return max(abs(ours[label] - stock[label]) for ours, stock in scores for label in stock)


if __name__ == "__main__":
    main()
