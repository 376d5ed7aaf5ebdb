# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""How fast pairs come out of tar shards of large JPEGs, against a bare loop that reads, decodes and resizes them.

    python examples/benchmark_loader.py
    python examples/benchmark_loader.py --num_workers 0 1 2 4 --num_images 4000 --image_size 224

The shards are made first, of noise at several scales with the bytes a pixel of photos. The bare loop takes the images
out of the shards one after the other with tarfile and PIL, in one process. The loader is pretrain.py's: shuffled,
captions tokenized, batches stacked. Both are timed with and without reduced-size JPEG decoding, in turns, `rounds`
times; the median counts. Prints a table and writes `metrics.json`. Without workers CPU seconds are counted too, which
other programs on the machine change less.
"""

import statistics
import time
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from command_line import UserError, parse_arguments


@dataclass
class BenchmarkLoaderArguments:
    """Flags of benchmark_loader.py."""

    output_dir: str = field(default="runs/benchmark_loader", metadata={"help": "folder of shards and metrics.json"})
    num_images: int = field(default=2000, metadata={"help": "images in the shards"})
    jpeg_size: int = field(default=512, metadata={"help": "side of the JPEGs in pixels"})
    image_size: int = field(default=224, metadata={"help": "side of the training images"})
    batch_size: int = field(default=64, metadata={"help": "pairs of a batch"})
    num_workers: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "workers to try"})
    rounds: int = field(default=3, metadata={"help": "times that everything is measured"})
    num_batches: int = field(default=12, metadata={"help": "batches of a measurement, after as many to warm up"})


def main() -> None:
    args = parse_arguments(BenchmarkLoaderArguments, __doc__.split("\n\n")[0])
    try:
        benchmark(args)
    except UserError as error:
        raise SystemExit(f"benchmark_loader.py: {error}") from None


def benchmark(args: BenchmarkLoaderArguments) -> dict:
    """Measure everything; returns what `metrics.json` holds."""
    import torch
    from tqdm.auto import tqdm

    from hf_cloob.training.run_log import write_metrics

    torch.set_num_threads(1)
    shards, jpeg_bytes = make_shards(args)
    count = args.batch_size * args.num_batches
    rates: dict[str, list[float]] = {}
    progress = tqdm(total=args.rounds * 2 * (1 + len(args.num_workers)), unit="measurement")
    for _ in range(args.rounds):
        for name, min_side in (("full", None), ("reduced", 2 * args.image_size)):
            wall, cpu = bare_loop(shards, count, args.image_size, min_side)
            rates.setdefault(f"bare_{name}_pairs_per_second", []).append(count / wall)
            rates.setdefault(f"bare_{name}_pairs_per_cpu_second", []).append(count / cpu)
            progress.update()
            for workers in args.num_workers:
                wall, cpu = loader(args, shards, workers, min_side)
                rates.setdefault(f"loader_{name}_{workers}_workers_pairs_per_second", []).append(count / wall)
                if workers == 0:
                    rates.setdefault(f"loader_{name}_pairs_per_cpu_second", []).append(count / cpu)
                progress.update()
    progress.close()
    metrics = {name: statistics.median(values) for name, values in rates.items()}
    for name in ("full", "reduced"):
        if 0 in args.num_workers:
            own = metrics[f"loader_{name}_pairs_per_cpu_second"]
            metrics[f"loader_{name}_of_bare_per_cpu_second"] = own / metrics[f"bare_{name}_pairs_per_cpu_second"]
        for workers in args.num_workers:
            own = metrics[f"loader_{name}_{workers}_workers_pairs_per_second"] / max(1, workers)
            metrics[f"loader_{name}_{workers}_workers_of_bare"] = own / metrics[f"bare_{name}_pairs_per_second"]
    metrics |= {"mean_jpeg_bytes": jpeg_bytes, "num_images": args.num_images, "rounds": args.rounds}
    for name, value in metrics.items():
        print(f"{name:48} {value:10.2f}")
    write_metrics(Path(args.output_dir) / "metrics.json", metrics)
    return metrics


def make_shards(args) -> tuple[list[str], float]:
    """Tar shards of 250 JPEGs with captions, kept for the next time; and the mean size of a JPEG."""
    import io
    import tarfile

    import numpy as np
    from PIL import Image

    folder = Path(args.output_dir) / f"shards-{args.num_images}-{args.jpeg_size}"
    folder.mkdir(parents=True, exist_ok=True)
    rng, sizes = np.random.default_rng(0), []
    for first in range(0, args.num_images, 250):
        path = folder / f"{first:06d}.tar"
        if path.is_file():
            with tarfile.open(path) as archive:
                sizes += [member.size for member in archive if member.name.endswith(".jpg")]
            continue
        aside = path.with_suffix(".unfinished")
        with tarfile.open(aside, "w") as archive:
            for number in range(first, min(first + 250, args.num_images)):
                pixels = np.zeros((args.jpeg_size, args.jpeg_size, 3), dtype=np.float32)
                for side in (4, 16, 64, 256):
                    noise = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
                    scaled = Image.fromarray(noise).resize((args.jpeg_size,) * 2, Image.Resampling.BICUBIC)
                    pixels += np.asarray(scaled, dtype=np.float32) * (1.2 / side**0.5)
                file = io.BytesIO()
                Image.fromarray((255 * pixels / pixels.max()).astype(np.uint8)).save(file, "JPEG", quality=88)
                sizes.append(len(file.getvalue()))
                for suffix, content in (("jpg", file.getvalue()), ("txt", f"picture number {number}".encode())):
                    member = tarfile.TarInfo(f"{number:09d}.{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
        aside.rename(path)
    return sorted(str(path) for path in folder.glob("*.tar")), sum(sizes) / len(sizes)


def bare_loop(shards: list[str], count: int, image_size: int, min_side: int | None) -> tuple[float, float]:
    """Wall and CPU seconds of reading, decoding and resizing `count` images, and nothing else."""
    import io
    import tarfile

    import numpy as np
    from PIL import Image

    def images():
        while True:
            for shard in shards:
                with tarfile.open(shard, "r|") as archive:
                    for member in archive:
                        if member.name.endswith(".jpg"):
                            yield archive.extractfile(member).read()

    wall, cpu = time.perf_counter(), time.process_time()
    for encoded in islice(images(), count):
        image = Image.open(io.BytesIO(encoded))
        if min_side:
            image.draft(None, (min_side, min_side))
        np.asarray(image.convert("RGB").resize((image_size, image_size), Image.Resampling.BICUBIC))
    return time.perf_counter() - wall, time.process_time() - cpu


def loader(args, shards: list[str], num_workers: int, min_side: int | None) -> tuple[float, float]:
    """Wall and CPU seconds (of this process) of as many pairs through pretrain.py's loader."""
    import torch

    from hf_cloob.data.collator import ImageTextCollator
    from hf_cloob.data.image_augmentation import TrainingTransform
    from hf_cloob.data.pairs import SampleMaker
    from hf_cloob.data.stream import PairStream
    from hf_cloob.data.tar_shards import TarShards
    from hf_cloob.data.tokenizers import train_bpe_tokenizer

    transform = TrainingTransform(args.image_size, (0.5,) * 3, (0.5,) * 3)
    stream = PairStream(
        [TarShards(shards)],
        SampleMaker(transform, 0),
        ImageTextCollator(train_bpe_tokenizer(["picture number 0123456789"], 300), 77),
        args.batch_size,
        2 * args.num_batches,
        buffer_size=2 * args.batch_size,
        min_side=min_side,
        # Many lanes would fill their buffers all through a short measurement.
        num_blocks=1,
        num_phases=max(1, num_workers),
    )
    batches = iter(torch.utils.data.DataLoader(stream, batch_size=None, num_workers=num_workers))
    for _ in range(args.num_batches):
        next(batches)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(args.num_batches):
        next(batches)
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
