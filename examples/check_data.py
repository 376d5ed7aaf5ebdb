# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Read a corpus once, as pretrain.py would, and say what it would have to skip, and why.

    python examples/check_data.py --train_files "shards/{000..099}.tar" --num_workers 8
    python examples/check_data.py --train_files data.csv --output_dir runs/check
    python examples/check_data.py --train_dir folder

Nothing is trained. Prints pairs by cause with the place of the first of each, pairs a second and the pictures'
megabytes a second, and writes `metrics.json`.
"""

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from command_line import UserError, parse_arguments, user_errors
from pretrain_stream import open_sources


@dataclass
class CheckDataArguments:
    """Flags of check_data.py; those that pretrain.py has too mean the same."""

    output_dir: str = field(default="runs/check_data", metadata={"help": "folder of metrics.json"})
    dataset_name: str = field(default="emoji", metadata={"help": "a Hub dataset or a folder of one"})
    dataset_config: str | None = field(default=None, metadata={"help": "configuration name of the Hub dataset"})
    dataset_split: str = field(default="train", metadata={"help": "split to read"})
    streaming: bool = field(default=False, metadata={"help": "stream dataset_name instead of downloading it first"})
    train_files: list[str] | None = field(default=None, metadata={"help": "tar shards, parquet, CSV, JSON lines ..."})
    train_dir: str | None = field(default=None, metadata={"help": "image folder"})
    image_column: str = field(default="image", metadata={"help": "column of the images"})
    caption_column: str = field(default="caption", metadata={"help": "column of captions, or several with commas"})
    allow_pipe_urls: bool = field(default=False, metadata={"help": "let 'pipe:COMMAND' in train_files run commands"})
    reduced_jpeg_size: int | None = field(default=None, metadata={"help": "decode JPEGs smaller, down to this"})
    num_workers: int = field(default=2, metadata={"help": "processes that read and decode"})
    seed: int = field(default=0, metadata={"help": "as in pretrain.py; changes nothing that is counted"})
    dataset_weights: list[float] | None = field(default=None, metadata={"help": "checked, and not used"})


def main() -> None:
    args = parse_arguments(CheckDataArguments, __doc__.split("\n\n")[0])
    try:
        check_data(args)
    except UserError as error:
        raise SystemExit(f"check_data.py: {error}") from None


def check_data(args: CheckDataArguments) -> dict:
    """Read everything once; returns what `metrics.json` holds."""
    from hf_cloob.data.bad_samples import flat_name
    from hf_cloob.training.run_log import write_metrics

    with user_errors():
        data = open_sources(args)
    seconds, num_good, num_bytes = 0.0, 0, 0
    skipped, skipped_at = Counter(), {}
    for source in data.sources:
        started = time.perf_counter()
        for shard in survey(source, args):
            num_good += shard["num_good"]
            num_bytes += shard["num_bytes"]
            skipped.update(shard["skipped"])
            skipped_at = shard["skipped_at"] | skipped_at
        seconds += time.perf_counter() - started
    num_bad = sum(skipped.values())
    metrics = {
        "num_pairs": num_good + num_bad,
        "num_good": num_good,
        "num_bad": num_bad,
        "bad_fraction": num_bad / max(1, num_good + num_bad),
        "num_shards": sum(source.num_shards for source in data.sources),
        "pairs_per_second": (num_good + num_bad) / seconds,
        "megabytes_per_second": num_bytes / 1e6 / seconds,
        "seconds": seconds,
    }
    for name, value in metrics.items():
        print(f"{name:25} {value:.4f}" if isinstance(value, float) else f"{name:25} {value}")
    for cause, count in skipped.most_common():
        print(f"{count:8} {cause} (first: {skipped_at[cause]})")
    metrics |= {flat_name(cause): count for cause, count in skipped.items()}
    Path(args.output_dir).mkdir(parents=True, exist_ok=True)
    write_metrics(Path(args.output_dir) / "metrics.json", metrics)
    return metrics


def survey(source, args):
    """What each shard of a source holds, in their order."""
    import torch
    from tqdm.auto import tqdm

    from hf_cloob.data.survey import SurveyedShards

    shards = SurveyedShards(source, args.reduced_jpeg_size)
    loader = torch.utils.data.DataLoader(shards, batch_size=None, num_workers=args.num_workers)
    return tqdm(loader, unit="shard", desc=source.name)


if __name__ == "__main__":
    main()
