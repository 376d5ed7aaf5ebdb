# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What memories of several sizes cost, and what searching them takes: exactly, and with FAISS.

    python examples/benchmark_memory.py runs/emoji_clip runs/emoji_cloob       # ten minutes on two cores, 8 GB of RAM
    python examples/benchmark_memory.py CHECKPOINT --memory_sizes 10000 --rounds 1       # a minute

The embeddings are those of the icons (`load_icons`) by the checkpoints; several are put side by side, so that two of
256 dimensions give one of 512. Beyond the number of icons come copies, each turned away from its icon in a random
direction by about as much as a picture that is moved, turned and scaled a little. Queries are icons that are not in
the memory. All searches alternate in every round, and medians count.

For every size: bytes on disk; seconds and resident memory of opening; seconds of an edit; queries a second of the
exact search, FAISS's exact search (flat) and the indexes HNSW and IVF; the share of the exact neighbors that these
find; and the time of each, and of a fusion layer, as a share of what a ViT-B/32 image encoder takes for 16 images.
Writes `metrics.json` and `memory.png` into the output folder, where sizes that an earlier run measured in the same
setting stay. Needs faiss-cpu and matplotlib.
"""

import json
import shutil
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from benchmark_memory_data import embed_icons, write_memory
from benchmark_memory_timing import (
    ENCODER_BATCH,
    edit_seconds,
    encoder_shares,
    opening,
    recalls,
    search_speed,
    searches,
)
from command_line import UserError, parse_arguments, user_errors

SEARCHES = {"exact": "exact (torch)", "flat": "FAISS flat", "hnsw": "FAISS HNSW", "ivf": "FAISS IVF, 8 bits"}
COLUMNS = {
    "queries_per_second_batch_16": "queries/s at 16",
    "recall": "recall",
    "share_of_encoder": "of encoder",
    "gb": "GB",
    "build_seconds": "built in s",
}


@dataclass
class BenchmarkArguments:
    """Flags of benchmark_memory.py."""

    model_name_or_path: list[str] = field(
        default_factory=list, metadata={"help": "checkpoints whose embeddings, side by side, are searched"}
    )
    output_dir: str = field(default="runs/benchmark_memory", metadata={"help": "folder of the results"})
    memory_sizes: list[int] = field(
        default_factory=lambda: [10_000, 100_000, 1_000_000], metadata={"help": "numbers of entries"}
    )
    num_neighbors: int = field(default=10, metadata={"help": "neighbors of each query"})
    batch_sizes: list[int] = field(
        default_factory=lambda: [1, 16, 256], metadata={"help": "queries of one search; 16, too"}
    )
    num_queries: int = field(default=1000, metadata={"help": "icons held out as queries, a fifth of them at most"})
    rounds: int = field(default=5, metadata={"help": "rounds, of which medians are taken"})
    num_links: int = field(default=32, metadata={"help": "HNSW: links of a key (M)"})
    ef_construction: int = field(default=80, metadata={"help": "HNSW: candidates while a key is linked"})
    ef_search: int = field(default=256, metadata={"help": "HNSW: candidates of a search"})
    num_probes: int = field(default=32, metadata={"help": "IVF: lists that a search reads"})
    threads: int = field(default=2, metadata={"help": "CPU threads"})
    icon_collections: list[str] = field(default_factory=list, metadata={"help": "only these collections of icons"})
    cache_dir: str = field(default="", metadata={"help": "icons and embeddings; ~/.cache/hf_cloob without it"})
    seed: int = field(default=0, metadata={"help": "seed of queries, copies and captions"})


def main() -> None:
    args = parse_arguments(BenchmarkArguments, __doc__.split("\n\n")[0], positional="model_name_or_path")
    try:
        check(args)
        benchmark(args)
    except UserError as error:
        raise SystemExit(f"benchmark_memory.py: {error}") from None


def check(args: BenchmarkArguments) -> None:
    """Raise UserError for what cannot be measured."""
    if not args.model_name_or_path:
        raise UserError("model_name_or_path needs a checkpoint, or several: real embeddings are what is searched")
    for name in ("memory_sizes", "batch_sizes"):
        if not getattr(args, name) or min(getattr(args, name)) < 1:
            raise UserError(f"{name} must be numbers of at least 1, got {getattr(args, name)}")
    for name in ("num_neighbors", "num_queries", "rounds", "threads", "num_probes", "ef_search", "ef_construction"):
        if getattr(args, name) < 1:
            raise UserError(f"{name} must be at least 1, got {getattr(args, name)}")
    if args.num_links < 2:
        raise UserError(f"num_links must be at least 2, got {args.num_links}")
    if find_spec("faiss") is None:
        raise UserError("FAISS is what is compared with: pip install 'hf_cloob[faiss]'")


def benchmark(args: BenchmarkArguments) -> dict:
    """Measure every size and write metrics.json and memory.png; returns what metrics.json holds."""
    import faiss
    import torch
    from tqdm.auto import tqdm

    from hf_cloob.training.run_log import write_metrics

    torch.set_num_threads(args.threads)
    faiss.omp_set_num_threads(args.threads)
    output_dir = Path(args.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    with user_errors():
        icons = embed_icons(args)
    names = ("num_neighbors", "num_links", "ef_construction", "ef_search", "num_probes", "threads", "rounds", "seed")
    setting = {name: getattr(args, name) for name in names}
    setting |= {
        "projection_dim": icons.images.shape[1],
        "num_icons": len(icons.images),
        "num_queries": len(icons.queries),
        "num_checkpoints": len(args.model_name_or_path),
    }
    metrics = earlier_metrics(output_dir / "metrics.json", setting)
    with tqdm(total=len(args.memory_sizes), unit="size") as progress:
        for size in sorted(args.memory_sizes):
            progress.set_postfix_str(f"{size:,} entries")
            figures = measure(args, icons, size, output_dir / "memory")
            metrics |= {f"{name}_{size}": value for name, value in figures.items()}
            write_metrics(output_dir / "metrics.json", metrics)
            progress.update()
    plot(metrics, output_dir / "memory.png")
    for line in report(metrics):
        print(line)
    return metrics


def earlier_metrics(path: Path, setting: dict) -> dict:
    """What an earlier run wrote, if it was made in the same setting; otherwise the setting alone."""
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return earlier if earlier.items() >= setting.items() else setting


def measure(args: BenchmarkArguments, icons, memory_size: int, folder: Path) -> dict[str, float]:
    """All figures of one size; the memory is in the folder meanwhile."""
    from hf_cloob import RecoMemory

    write_memory(icons, memory_size, args.seed, folder)
    try:
        figures = opening(folder)
        figures |= edit_seconds(RecoMemory.from_pretrained(folder))
        functions, costs = searches(args, folder)
        figures |= costs | recalls(functions, icons.queries)
        batch_sizes = sorted({*args.batch_sizes, ENCODER_BATCH})
        figures |= search_speed(functions, icons.queries, batch_sizes, args.rounds)
        figures |= encoder_shares(functions, RecoMemory.from_pretrained(folder), icons.queries, args)
    finally:
        shutil.rmtree(folder)
    return figures


def measured_sizes(metrics: dict) -> list[int]:
    return sorted(int(name.rsplit("_", 1)[1]) for name in metrics if name.startswith("disk_gb_"))


def report(metrics: dict) -> list[str]:
    """The figures as a table of sizes and searches."""
    lines = []
    for size in measured_sizes(metrics):
        one = {name.removesuffix(f"_{size}"): value for name, value in metrics.items() if name.endswith(f"_{size}")}
        lines += [
            "",
            f"{size:,} x {metrics['projection_dim']}: {one['disk_gb']:.3f} GB on disk, opens in "
            f"{one['open_seconds']:.3f} s and {one['open_resident_mb']:.1f} MB, an entry is added in "
            f"{one['add_seconds']:.3f} s and removed in {one['remove_seconds']:.3f} s",
            f"{'':20}" + "".join(f"{title:>17}" for title in COLUMNS.values()),
        ]
        for name, title in SEARCHES.items():
            cells = (one.get(f"{name}_{column}") for column in COLUMNS)
            lines.append(f"{title:20}" + "".join(f"{'' if cell is None else f'{cell:.4g}':>17}" for cell in cells))
        batches = sorted(int(name.rsplit("_", 1)[1]) for name in one if name.startswith("exact_over_flat_batch_"))
        lines.append(
            "exact over FAISS flat: "
            + ", ".join(f"{one[f'exact_over_flat_batch_{batch}']:.2f} at {batch}" for batch in batches)
            + f"; fusion layer: {one['fusion_share_of_encoder']:.2%} of the encoder's "
            f"{one['encoder_seconds_batch_16']:.3f} s for 16 images"
        )
    return lines


def plot(metrics: dict, path: Path) -> None:
    """Time of a query and footprint against the size of the memory, log-log."""
    from hf_cloob.evaluation.plot_style import MUTED, SERIES, new_figure, plot_style, save_png

    sizes = measured_sizes(metrics)
    with plot_style():
        figure = new_figure(9.0, 3.6)
        figure.set_layout_engine("constrained")
        speed, footprint = figure.subplots(1, 2)
        for color, (name, title) in zip(SERIES, SEARCHES.items(), strict=False):
            line = {"marker": "o", "markersize": 4, "color": color, "label": title}
            rates = [metrics[f"{name}_queries_per_second_batch_16_{size}"] for size in sizes]
            speed.loglog(sizes, [1000 / rate for rate in rates], **line)
            if name != "exact":
                footprint.loglog(sizes, [metrics[f"{name}_gb_{size}"] for size in sizes], **line)
        disk = [metrics[f"disk_gb_{size}"] for size in sizes]
        memory_line = {"marker": "s", "markersize": 4, "color": MUTED, "linestyle": "--"}
        footprint.loglog(sizes, disk, **memory_line, label="the memory itself, on disk")
        speed.set(title="Milliseconds a query, 16 at once", xlabel="entries")
        footprint.set(title="GB of the memory and of each index of one side", xlabel="entries")
        for axes in (speed, footprint):
            axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
            axes.minorticks_off()
            axes.legend()
        save_png(figure, path)


if __name__ == "__main__":
    main()
