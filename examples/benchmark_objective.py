# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Time CLOOB's objective, forward and backward, and its memory against other ways to write it.

    python examples/benchmark_objective.py                          # about 25 minutes on two cores
    python examples/benchmark_objective.py --sizes 1024 2048        # a minute
    python examples/benchmark_objective.py --device cuda --dtype bfloat16 --sizes 65536 \
        --output_dir runs/benchmark_objective_cuda

All forms give the same number. `blockwise` is hf_cloob's; `dense` writes the scores out, x y^T once for both cross
retrievals; `published` is the paper's formulas line by line; `sdpa` retrieves through torch's
scaled_dot_product_attention. Forms alternate in every round and medians are compared; above 8,192 pairs there is one
round. Memory is what the peak of the process, or of the GPU's tensors, rises by. A form that would not fit into memory
is left out. `share_of_product_rate` is the share of the rate that plain products of the same dtype reach in the same
run. With bfloat16 the other forms do everything in bfloat16, so that their numbers are coarser. Writes
`metrics.json` and `objective.png` into the output folder, where sizes that an earlier run measured on the same device
stay: the largest take minutes each.
"""

import ctypes
import json
import statistics
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from command_line import UserError, parse_arguments

INVERSE_TEMPERATURE, HOPFIELD_SCALE = 30.0, 8.0
# Products of 2 N^2 D operations in the exact blockwise objective, forward and backward.
PRODUCTS = 26
# N x N matrices that the dense forms hold at their peak, measured.
DENSE_MATRICES = 12
SEVERAL_ROUNDS_UP_TO = 8192


@dataclass
class BenchmarkArguments:
    """Flags of benchmark_objective.py."""

    output_dir: str = field(default="runs/benchmark_objective", metadata={"help": "folder of the results"})
    sizes: list[int] = field(
        default_factory=lambda: [1024, 2048, 4096, 8192, 16384, 32768, 65536], metadata={"help": "numbers of pairs"}
    )
    projection_dim: int = field(default=512, metadata={"help": "width of the embeddings"})
    rounds: int = field(default=3, metadata={"help": "rounds up to 8,192 pairs, of which medians are taken"})
    device: str = field(default="cpu", metadata={"help": "cpu or cuda"})
    dtype: str = field(default="float32", metadata={"help": "float32 or bfloat16"})
    memory_limit: float = field(
        default=0.0, metadata={"help": "GiB; forms that need more are left out; 0: 16, or what is free on the GPU"}
    )
    threads: int = field(default=0, metadata={"help": "CPU threads; 0 leaves torch's number"})
    seed: int = field(default=0, metadata={"help": "seed of the embeddings"})


def main() -> None:
    args = parse_arguments(BenchmarkArguments, __doc__.split("\n\n")[0])
    try:
        benchmark(args)
    except UserError as error:
        raise SystemExit(f"benchmark_objective.py: {error}") from None


def benchmark(args: BenchmarkArguments) -> dict:
    """Time every form at every size; returns what metrics.json holds."""
    if any(size < 2 for size in args.sizes) or args.rounds < 1:
        raise UserError(f"sizes must be at least 2 and rounds at least 1, got {args.sizes} and {args.rounds}")
    if args.dtype not in ("float32", "bfloat16"):
        raise UserError(f"dtype must be float32 or bfloat16, got {args.dtype!r}")
    if args.device not in ("cpu", "cuda"):
        raise UserError(f"device must be cpu or cuda, got {args.device!r}")
    import torch
    from tqdm.auto import tqdm

    from hf_cloob.training.run_log import write_metrics

    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device cuda needs a GPU, and torch {torch.__version__} sees none here; use --device cpu")
    if args.threads:
        torch.set_num_threads(args.threads)
    output_dir = Path(args.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    metrics = {
        "projection_dim": args.projection_dim,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if args.device == "cuda" else args.device,
        "dtype": args.dtype,
    }
    metrics = earlier_metrics(output_dir / "metrics.json", metrics)
    with tqdm(total=len(args.sizes), unit="size") as progress:
        for size in sorted(args.sizes):
            progress.set_postfix_str(f"{size} pairs")
            metrics |= {f"{name}_{size}": value for name, value in measure(args, size).items()}
            write_metrics(output_dir / "metrics.json", metrics)
            progress.update()
    plot(metrics, output_dir / "objective.png")
    for name, value in metrics.items():
        print(f"{name:45} {value:.4g}" if isinstance(value, float) else f"{name:45} {value}")
    return metrics


def earlier_metrics(path: Path, setting: dict) -> dict:
    """What an earlier run wrote, if it was made in the same setting; otherwise the setting alone."""
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return earlier if earlier.items() >= setting.items() else setting


def measure(args: BenchmarkArguments, size: int) -> dict[str, float]:
    """Seconds, GiB and ratios of every form that fits, at one number of pairs."""
    import torch

    torch.manual_seed(args.seed)
    dtype = getattr(torch, args.dtype)
    images, texts = (
        torch.nn.functional.normalize(torch.randn(size, args.projection_dim)).to(args.device, dtype).requires_grad_()
        for _ in range(2)
    )
    fits = DENSE_MATRICES * size * size * 4 / 2**30 <= memory_limit(args)
    used = {name: form for name, form in forms().items() if name == "blockwise" or fits}
    rounds = args.rounds if size <= SEVERAL_ROUNDS_UP_TO else 1
    if args.device == "cuda":
        # Libraries are loaded and products chosen at the first call.
        used["blockwise"](images[:4096], texts[:4096], INVERSE_TEMPERATURE, HOPFIELD_SCALE).backward()
        images.grad = texts.grad = None
    seconds, rates = {name: [] for name in used}, []
    memory, losses, gradients = {}, {}, {}
    for number in range(rounds):
        rates.append(product_rate(args, min(size, SEVERAL_ROUNDS_UP_TO)))
        for name in list(used) if number % 2 == 0 else reversed(used):
            with peak_memory(args.device, memory, name):
                started = time.perf_counter()
                loss = used[name](images, texts, INVERSE_TEMPERATURE, HOPFIELD_SCALE)
                loss.backward()
                synchronize(args.device)
                seconds[name].append(time.perf_counter() - started)
            losses[name], gradients[name] = loss.item(), images.grad.float().norm().item()
            images.grad = texts.grad = None
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    rate = statistics.median(rates)
    figures = {f"{name}_seconds": value for name, value in medians.items()}
    figures |= {f"{name}_gib": value for name, value in memory.items()}
    figures["product_rate_gflops"] = rate / 1e9
    figures["share_of_product_rate"] = PRODUCTS * 2 * size**2 * args.projection_dim / medians["blockwise"] / rate
    for name in used:
        if name != "blockwise":
            figures[f"time_over_{name}"] = medians["blockwise"] / medians[name]
            figures[f"memory_over_{name}"] = memory["blockwise"] / memory[name]
            figures[f"difference_from_{name}"] = abs(losses["blockwise"] - losses[name])
            figures[f"gradient_norm_over_{name}"] = gradients["blockwise"] / gradients[name]
    return figures


def forms() -> dict[str, Callable]:
    """Four ways to write the same loss, as functions of images, texts, t and beta."""
    from torch.nn.functional import normalize, scaled_dot_product_attention

    from hf_cloob import cloob_loss
    from hf_cloob.losses_dense import cloob_loss as published
    from hf_cloob.losses_dense import info_loob_loss

    def dense(x, y, t, beta):
        cross = beta * (x @ y.T)
        images_from_images = normalize((beta * (x @ x.T)).softmax(dim=1) @ x)
        texts_from_texts = normalize((beta * (y @ y.T)).softmax(dim=1) @ y)
        texts_from_images, images_from_texts = (
            normalize(cross.T.softmax(dim=1) @ x),
            normalize(cross.softmax(dim=1) @ y),
        )
        return info_loob_loss(images_from_images, texts_from_images, t) + info_loob_loss(
            texts_from_texts, images_from_texts, t
        )

    def sdpa(x, y, t, beta):
        def retrieve(query, memory):
            query, memory = query[None, None], memory[None, None]
            return normalize(scaled_dot_product_attention(query, memory, memory, scale=beta)[0, 0])

        return info_loob_loss(retrieve(x, x), retrieve(y, x), t) + info_loob_loss(retrieve(y, y), retrieve(x, y), t)

    return {"blockwise": cloob_loss, "dense": dense, "published": published, "sdpa": sdpa}


def product_rate(args: BenchmarkArguments, size: int) -> float:
    """Operations a second of the two plain products A B^T and (A B^T) B, on matrices of the benchmark's size."""
    import torch

    first, second = (
        torch.randn(size, args.projection_dim, device=args.device, dtype=getattr(torch, args.dtype)) for _ in range(2)
    )
    # A GPU's clock and its first products need a while; a CPU's seconds are few enough as they are.
    repetitions = 10 if args.device == "cuda" else 1
    if args.device == "cuda":
        for _ in range(repetitions):
            first @ second.T @ second
    synchronize(args.device)
    started = time.perf_counter()
    for _ in range(repetitions):
        first @ second.T @ second
    synchronize(args.device)
    return repetitions * 4 * size**2 * args.projection_dim / (time.perf_counter() - started)


def memory_limit(args: BenchmarkArguments) -> float:
    """GiB that a form may take."""
    import torch

    if args.memory_limit:
        return args.memory_limit
    return torch.cuda.mem_get_info()[0] / 2**30 if args.device == "cuda" else 16.0


@contextmanager
def peak_memory(device: str, into: dict[str, float], name: str):
    """Note by how many GiB memory rises above its state at the start, the largest of all rounds."""
    import torch

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield
        peak = torch.cuda.max_memory_allocated()
    else:
        # Linux: what earlier runs have freed goes back to the system, and a new peak begins.
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = resident_bytes("VmRSS")
        yield
        peak = resident_bytes("VmHWM")
    into[name] = max(into.get(name, 0.0), (peak - before) / 2**30)


def resident_bytes(entry: str) -> int:
    """VmRSS, now, or VmHWM, at the most, of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(entry))


def synchronize(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def plot(metrics: dict, path: Path) -> None:
    """Seconds and memory against the number of pairs, log-log."""
    from hf_cloob.evaluation.plot_style import SERIES, new_figure, plot_style, save_png

    names = ("blockwise", "dense", "published", "sdpa")
    sizes = sorted(int(name.rsplit("_", 1)[1]) for name in metrics if name.startswith("blockwise_seconds_"))
    with plot_style():
        figure = new_figure(9.0, 3.6)
        figure.set_layout_engine("constrained")
        panels = (("seconds", "Seconds, forward and backward"), ("gib", "Extra memory, GiB"))
        for axes, (unit, title) in zip(figure.subplots(1, 2), panels, strict=True):
            for color, name in zip(SERIES, names, strict=False):
                found = [(size, metrics.get(f"{name}_{unit}_{size}")) for size in sizes]
                # A dense form's first sizes may stay below what the process had already.
                points = [(size, value) for size, value in found if value]
                if points:
                    axes.loglog(*zip(*points, strict=True), marker="o", markersize=4, color=color, label=name)
            axes.set(title=title, xlabel="pairs in the batch")
            axes.set_xticks(sizes, [f"{size // 1024}k" if size % 1024 == 0 else str(size) for size in sizes])
            axes.minorticks_off()
        figure.axes[0].legend()
        save_png(figure, path)


if __name__ == "__main__":
    main()
