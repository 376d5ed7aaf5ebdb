# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Time a training step of CloobModel against transformers' CLIPModel, on the same towers of ViT-B/32's size.

    python examples/benchmark_training_step.py
    python examples/benchmark_training_step.py --size tiny --rounds 1        # tries the script in seconds

A step is zero_grad, forward with loss, backward and AdamW's step. Two comparisons: texts that fill the context, so
that neither model has padding to save, and captions as the users of each have them: CLIPModel padded to the context,
as in transformers' image-text training example, CloobModel with this package's collator. CLIPModel padded to the
batch's longest caption is timed too. Every round times all cases, in an order that is turned around from round to
round, and the medians are compared. Both models start from the same weights, and their embeddings are compared.
Captions are an emoji's label and tags, joined by commas, or the lines of a file. Writes `metrics.json` into the output
folder.
"""

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from command_line import UserError, parse_arguments

CONTEXT_LENGTH = 77
COMPARED_PAIRS = 8
TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
TINY_VISION = TINY | {"image_size": 32, "patch_size": 16}
INPUTS = ("pixel_values", "input_ids", "attention_mask")


@dataclass
class BenchmarkArguments:
    """Flags of benchmark_training_step.py."""

    output_dir: str = field(default="runs/benchmark_training_step", metadata={"help": "folder of metrics.json"})
    size: str = field(default="base", metadata={"help": "base: towers of ViT-B/32's size; tiny: to try the script"})
    batch_size: int = field(default=64, metadata={"help": "pairs of a step"})
    captions_file: str | None = field(default=None, metadata={"help": "captions, one a line, instead of the emoji's"})
    rounds: int = field(default=3, metadata={"help": "rounds, of which medians are taken"})
    profile: bool = field(default=False, metadata={"help": "also write each case's time by operator into a file"})
    threads: int = field(default=0, metadata={"help": "CPU threads; 0 leaves torch's number"})
    seed: int = field(default=0, metadata={"help": "seed of weights, images and the choice of captions"})


def main() -> None:
    args = parse_arguments(BenchmarkArguments, __doc__.split("\n\n")[0])
    try:
        benchmark(args)
    except UserError as error:
        raise SystemExit(f"benchmark_training_step.py: {error}") from None


def benchmark(args: BenchmarkArguments) -> dict:
    """Time the cases and write metrics.json; returns what it holds."""
    if args.size not in ("base", "tiny"):
        raise UserError(f"size must be base or tiny, got {args.size!r}")
    for name, least in (("batch_size", 2), ("rounds", 1), ("threads", 0)):
        if getattr(args, name) < least:
            raise UserError(f"{name} must be at least {least}, got {getattr(args, name)}")
    import torch

    from hf_cloob.data.tokenizers import train_bpe_tokenizer
    from hf_cloob.training.optimization import build_optimizer
    from hf_cloob.training.run_log import write_metrics

    if args.threads:
        torch.set_num_threads(args.threads)
    captions = load_captions(args)
    tokenizer = train_bpe_tokenizer(captions, vocab_size=8192, context_length=CONTEXT_LENGTH)
    chosen = random.Random(args.seed).sample(captions, args.batch_size)
    clip, cloob = build_models(args, tokenizer)
    batches = build_batches(chosen, tokenizer, clip.config.vision_config.image_size, args.seed)
    difference = embedding_difference(clip, cloob, batches)
    # pretrain.py's optimizer for both; its moments, made in a first step that is not counted, serve all cases.
    of_clip, of_cloob = ((model, build_optimizer(model, learning_rate=1e-5)) for model in (clip, cloob))
    for model, optimizer in (of_clip, of_cloob):
        train_step(model, optimizer, batches["padded_to_longest"])
    steps = {
        "clip_full": partial(train_step, *of_clip, batches["full"]),
        "cloob_full": partial(train_step, *of_cloob, batches["full"]),
        "clip_padded_to_context": partial(train_step, *of_clip, batches["padded_to_context"]),
        "clip_padded_to_longest": partial(train_step, *of_clip, batches["padded_to_longest"]),
        "cloob_collated": partial(train_step, *of_cloob, batches["padded_to_longest"]),
    }
    seconds = timed(steps, args.rounds)
    lengths = batches["padded_to_longest"]["attention_mask"].sum(dim=1)
    metrics = {
        "full_length_speedup": seconds["clip_full"] / seconds["cloob_full"],
        "real_captions_speedup": seconds["clip_padded_to_context"] / seconds["cloob_collated"],
        "real_captions_speedup_over_longest": seconds["clip_padded_to_longest"] / seconds["cloob_collated"],
        "largest_embedding_difference": difference,
        **{f"{name}_seconds": value for name, value in seconds.items()},
        "mean_caption_tokens": lengths.double().mean().item(),
        "longest_caption_tokens": int(lengths.max()),
        "context_length": CONTEXT_LENGTH,
        "batch_size": args.batch_size,
        "rounds": args.rounds,
        "threads": torch.get_num_threads(),
        "size": args.size,
    }
    for name, value in metrics.items():
        print(f"{name:40} {value:.6g}" if isinstance(value, float) else f"{name:40} {value}")
    output_dir = Path(args.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    write_metrics(output_dir / "metrics.json", metrics)
    if args.profile:
        write_profiles(steps, output_dir)
    return metrics


def load_captions(args: BenchmarkArguments) -> list[str]:
    """The lines of the file, or what the emoji of the training split are called and tagged with."""
    if args.captions_file:
        try:
            lines = Path(args.captions_file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"captions_file {args.captions_file} cannot be read: {error}") from None
        captions = [line.strip() for line in lines if line.strip()]
    else:
        from hf_cloob.data.emoji import load_emoji

        rows = load_emoji()["train"].select_columns(["concept", "label", "tags"])
        captions = list({row["concept"]: ", ".join([row["label"], *row["tags"]]) for row in rows}.values())
    if len(captions) < args.batch_size:
        raise UserError(f"batch_size {args.batch_size} needs as many captions, there are {len(captions)}")
    return captions


def build_models(args: BenchmarkArguments, tokenizer) -> tuple:
    """A CLIPModel and a CloobModel with the same weights, in training mode."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    from hf_cloob import CloobConfig, CloobModel

    # CLIP's own vocabulary: the optimizer's share of a step depends on the embedding table.
    text = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    text |= {"max_position_embeddings": CONTEXT_LENGTH, **(TINY if args.size == "tiny" else {})}
    vision = TINY_VISION if args.size == "tiny" else {}
    torch.manual_seed(args.seed)
    clip = CLIPModel(CLIPConfig(text_config=text, vision_config=vision))
    cloob = CloobModel(CloobConfig(text_config=clip.config.text_config, vision_config=clip.config.vision_config))
    for name in ("text_model", "vision_model", "text_projection", "visual_projection"):
        getattr(cloob, name).load_state_dict(getattr(clip, name).state_dict())
    return clip.train(), cloob.train()


def build_batches(captions: list[str], tokenizer, image_size: int, seed: int) -> dict[str, dict]:
    """The captions' batch by the collator and padded to the context, and a batch of texts that fill the context."""
    import torch

    from hf_cloob.data.collator import ImageTextCollator

    images = torch.randn(len(captions), 3, image_size, image_size, generator=torch.Generator().manual_seed(seed))
    samples = [
        {"pixel_values": image, "text": text, "index": index}
        for index, (image, text) in enumerate(zip(images, captions, strict=True))
    ]
    collated = ImageTextCollator(tokenizer, CONTEXT_LENGTH)(samples)
    longest = {name: collated[name] for name in INPUTS}
    pad = {"padding": "max_length", "truncation": True, "max_length": CONTEXT_LENGTH, "return_tensors": "pt"}
    # Enough copies that even one-word captions are cut at the context.
    around = [" ".join((captions[start:] + captions[:start]) * CONTEXT_LENGTH) for start in range(len(captions))]
    return {
        "padded_to_longest": longest,
        "padded_to_context": longest | dict(tokenizer(captions, **pad)),
        "full": longest | dict(tokenizer(around, **pad)),
    }


def train_step(model, optimizer, batch: dict) -> None:
    """One step of the optimizer on a batch."""
    optimizer.zero_grad()
    model(**batch, return_loss=True).loss.backward()
    optimizer.step()


def embedding_difference(clip, cloob, batches: dict[str, dict]) -> float:
    """The largest difference of both models' embeddings of a few pairs, each with its own padding."""
    import torch

    first = {name: {key: tensor[:COMPARED_PAIRS] for key, tensor in batch.items()} for name, batch in batches.items()}
    with torch.no_grad():
        expected, ours = clip(**first["padded_to_context"]), cloob(**first["padded_to_longest"])
    pairs = ((ours.image_embeds, expected.image_embeds), (ours.text_embeds, expected.text_embeds))
    return max((found - wanted).abs().max().item() for found, wanted in pairs)


def timed(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median seconds of each step."""
    from tqdm.auto import tqdm

    seconds: dict[str, list[float]] = {name: [] for name in steps}
    with tqdm(total=rounds * len(steps), unit="step") as progress:
        for number in range(rounds):
            for name in list(steps) if number % 2 == 0 else reversed(steps):
                progress.set_postfix_str(name)
                started = time.perf_counter()
                steps[name]()
                seconds[name].append(time.perf_counter() - started)
                progress.update()
    return {name: statistics.median(values) for name, values in seconds.items()}


def write_profiles(steps: dict[str, Callable[[], None]], output_dir: Path) -> None:
    """Write each step's time by operator into `profile_NAME.txt`."""
    from torch.profiler import ProfilerActivity, profile

    for name, step in steps.items():
        with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as record:
            step()
        table = record.key_averages(group_by_input_shape=True).table(
            sort_by="self_cpu_time_total", row_limit=60, max_shapes_column_width=100
        )
        path = output_dir / f"profile_{name}.txt"
        path.write_text(table, encoding="utf-8")
        print(f"Wrote {path}")


if __name__ == "__main__":
    main()
