# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Train CLOOB on one large batch through micro-batches, with towers of ViT-S's size: seconds and memory of a step.

    python examples/benchmark_large_batch.py                                                    # 16,384 pairs at 64 px
    python examples/benchmark_large_batch.py --batch_size 128 --micro_batch_size 32 --plain true --steps 3
    python examples/benchmark_large_batch.py --size tiny --batch_size 64 --micro_batch_size 16  # tries it in seconds

The pairs are random pixels and random tokens, for a step costs the same whatever it sees. A step is all that
pretrain.py's is: the gradient of the whole batch, its norm clipped, AdamW. `--plain true` times the ordinary pass on
the same batch and weights too, which needs the activations of the whole batch, and compares the gradients. Writes
`metrics.json` into the output folder.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmark_objective import peak_memory, resident_bytes, synchronize
from command_line import UserError, parse_arguments

# ViT-S of Touvron et al. 2021 (DeiT); the text tower is as wide and as deep.
TOWERS = {
    "small": {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 12, "num_attention_heads": 6},
    "tiny": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
}
VOCABULARY = {"vocab_size": 8192, "bos_token_id": 8190, "eos_token_id": 8191, "pad_token_id": 0}


@dataclass
class BenchmarkArguments:
    """Flags of benchmark_large_batch.py."""

    output_dir: str = field(default="runs/benchmark_large_batch", metadata={"help": "folder of metrics.json"})
    size: str = field(default="small", metadata={"help": "small: towers of ViT-S's size; tiny: to try the script"})
    batch_size: int = field(default=16_384, metadata={"help": "pairs that the loss sees together"})
    micro_batch_size: int = field(default=128, metadata={"help": "pairs embedded at a time"})
    steps: int = field(default=1, metadata={"help": "optimizer steps, all on the same batch"})
    image_size: int = field(default=64, metadata={"help": "side of the images in pixels"})
    patch_size: int = field(default=8, metadata={"help": "side of a patch in pixels"})
    num_tokens: int = field(default=16, metadata={"help": "tokens of a caption"})
    projection_dim: int = field(default=512, metadata={"help": "width of the shared embedding space"})
    contrastive_loss: str = field(default="infoloob", metadata={"help": "infoloob, infonce or sigmoid"})
    mixed_precision: str = field(default="no", metadata={"help": "no, bf16 or fp16"})
    activation_checkpointing: bool = field(default=False, metadata={"help": "recompute activations, less memory"})
    plain: bool = field(default=False, metadata={"help": "compare with the ordinary pass, which needs more memory"})
    threads: int = field(default=0, metadata={"help": "CPU threads; 0 leaves torch's number"})
    seed: int = field(default=0, metadata={"help": "seed of weights and pairs"})


def main() -> None:
    args = parse_arguments(BenchmarkArguments, __doc__.split("\n\n")[0])
    try:
        benchmark(args)
    except UserError as error:
        raise SystemExit(f"benchmark_large_batch.py: {error}") from None


def benchmark(args: BenchmarkArguments) -> dict:
    """Take the steps and write metrics.json; returns what it holds."""
    if args.size not in TOWERS:
        raise UserError(f"size must be one of {', '.join(TOWERS)}, got {args.size!r}")
    for name, least in (("batch_size", 2), ("micro_batch_size", 1), ("steps", 1), ("num_tokens", 3)):
        if getattr(args, name) < least:
            raise UserError(f"{name} must be at least {least}, got {getattr(args, name)}")
    import torch
    from accelerate import Accelerator

    from hf_cloob.training.run_log import write_metrics

    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    accelerator = Accelerator(cpu=not torch.accelerator.is_available(), mixed_precision=args.mixed_precision)
    model, inputs = build_model(args).train(), build_batch(args, accelerator.device)
    on_gpu = accelerator.device.type == "cuda"
    metrics = {
        "batch_size": args.batch_size,
        "micro_batch_size": args.micro_batch_size,
        "parameters": model.num_parameters(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "mixed_precision": args.mixed_precision,
        **take_steps(args, accelerator, model, inputs),
        "peak_gib": (torch.cuda.max_memory_allocated() if on_gpu else resident_bytes("VmHWM")) / 2**30,
    }
    output_dir = Path(args.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    write_metrics(output_dir / "metrics.json", metrics)
    for name, value in metrics.items():
        print(f"{name:25} {value:.4g}" if isinstance(value, float) else f"{name:25} {value}")
    return metrics


def take_steps(args: BenchmarkArguments, accelerator, model, inputs: dict) -> dict[str, float]:
    """Median seconds and GiB of a gradient, in chunks and, if asked for, plain; the losses, and how far they agree."""
    import torch
    from tqdm.auto import tqdm

    from hf_cloob.training.grad_cache import backward_in_chunks
    from hf_cloob.training.optimization import build_optimizer

    model, optimizer = accelerator.prepare(model, build_optimizer(model, learning_rate=1e-4))

    def plain():
        outputs = model(**inputs, return_loss=True)
        accelerator.backward(outputs.loss)
        return outputs

    def chunked():
        return backward_in_chunks(model, inputs, args.micro_batch_size, backward=accelerator.backward)

    # The optimizer uses the gradient of the last.
    ways: dict[str, Callable] = {"plain": plain, "chunked": chunked} if args.plain else {"chunked": chunked}
    seconds, memory, losses, gradients = {name: [] for name in ways}, {}, [], {}
    for _ in tqdm(range(args.steps), unit="step"):
        for name, compute in ways.items():
            optimizer.zero_grad()
            with peak_memory(accelerator.device.type, memory, name):
                started = time.perf_counter()
                loss = compute().loss.item()
                synchronize(accelerator.device.type)
                seconds[name].append(time.perf_counter() - started)
            if args.plain:
                gradients[name] = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        norm = accelerator.clip_grad_norm_(model.parameters(), 1.0).item()
        optimizer.step()
        losses.append(loss)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    figures = {"seconds": medians["chunked"], "pairs_per_second": args.batch_size / medians["chunked"]}
    figures |= {"step_gib": memory["chunked"], "first_loss": losses[0], "last_loss": losses[-1], "grad_norm": norm}
    if args.plain:
        difference = (gradients["chunked"] - gradients["plain"]).norm() / gradients["plain"].norm()
        figures |= {"plain_seconds": medians["plain"], "plain_step_gib": memory["plain"]}
        figures |= {"time_over_plain": medians["chunked"] / medians["plain"], "gradient_difference": difference.item()}
    return figures


def build_model(args: BenchmarkArguments):
    """A CloobModel with random towers."""
    from hf_cloob import CloobConfig, CloobModel

    tower = TOWERS[args.size]
    vision = {"model_type": "clip_vision_model", "image_size": args.image_size, "patch_size": args.patch_size}
    model = CloobModel(
        CloobConfig(
            vision_config=vision | tower,
            text_config={"model_type": "clip_text_model", **VOCABULARY, **tower},
            projection_dim=args.projection_dim,
            contrastive_loss=args.contrastive_loss,
        )
    )
    if args.activation_checkpointing:
        from hf_cloob.training.activation_checkpointing import recompute_activations

        recompute_activations(model)
    return model


def build_batch(args: BenchmarkArguments, device) -> dict:
    """Random pixels and captions of equal length, each with its first and last token."""
    import torch

    tokens = torch.randint(1, VOCABULARY["bos_token_id"], (args.batch_size, args.num_tokens), device=device)
    tokens[:, 0], tokens[:, -1] = VOCABULARY["bos_token_id"], VOCABULARY["eos_token_id"]
    return {
        "pixel_values": torch.randn(args.batch_size, 3, args.image_size, args.image_size, device=device),
        "input_ids": tokens,
        "attention_mask": torch.ones_like(tokens),
    }


if __name__ == "__main__":
    main()
