# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Build a memory for retrieval-enhanced models: embed image-text pairs with a CLIP, SigLIP, CLOOB or RECO checkpoint.

    python examples/build_memory.py runs/emoji_cloob --dataset_name emoji --output_dir runs/memory
    python examples/build_memory.py CHECKPOINT --dataset_name TAR_SHARDS --image_column jpg --caption_column txt
    torchrun --nproc_per_node 8 examples/build_memory.py CHECKPOINT --dataset_name some/hub-dataset
    python examples/build_memory.py CHECKPOINT --dataset_name FOLDER --exclude_near_duplicates_of TEST_DATASET

The output folder is a `RecoMemory`: `memory.safetensors` and `memory_entries.parquet`; an entry's id is the number of
its row among those that have a caption. Beside it lies a flat `metrics.json`. A killed build goes on where it was when
the same command is given again. Pictures of a test set have no place in a memory: --exclude_near_duplicates_of removes
every entry whose picture is as similar to one of them as --near_duplicate_threshold, and lists the ids in
`near_duplicates.json`. What is similar depends on the encoder. Keys are kept in float16, so the cosine of a picture
with itself is 1 +- 0.001: thresholds above 0.999 are refused.
"""

import json
import os
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from checkpoints import load_encoder
from command_line import UserError, parse_arguments, user_errors

REMOVED_FILE = "near_duplicates.json"
# A filtered memory that is complete, on its way to where the unfiltered one is.
FILTERED_FOLDER = "filtered_memory"
EXCLUSION_FLAGS = ("exclude_near_duplicates_of", "exclude_config", "exclude_split", "exclude_image_column")


@dataclass
class BuildMemoryArguments:
    """Flags of build_memory.py."""

    checkpoint: str = field(default="runs/emoji_cloob", metadata={"help": "folder or Hub id of a dual encoder"})
    output_dir: str = field(default="runs/memory", metadata={"help": "folder of the memory"})

    dataset_name: str = field(
        default="emoji", metadata={"help": "emoji, a Hub dataset or a folder; several with commas between them"}
    )
    dataset_config: str | None = field(default=None, metadata={"help": "configuration name of the Hub dataset"})
    dataset_split: str = field(default="train", metadata={"help": "split to embed"})
    image_column: str = field(default="image", metadata={"help": "column of the images"})
    caption_column: str = field(default="caption", metadata={"help": "column of captions; of a list the first counts"})

    exclude_near_duplicates_of: str | None = field(
        default=None, metadata={"help": "test data, named as dataset_name, whose pictures must not be in the memory"}
    )
    exclude_config: str | None = field(default=None, metadata={"help": "configuration name of the test data"})
    exclude_split: list[str] = field(default_factory=lambda: ["test"], metadata={"help": "splits of the test data"})
    exclude_image_column: str = field(default="image", metadata={"help": "column of the test data's images"})
    near_duplicate_threshold: float = field(
        default=0.95, metadata={"help": "least cosine of two pictures that count as the same, at most 0.999"}
    )

    batch_size: int = field(default=256, metadata={"help": "pairs in one pass of a process"})
    shard_size: int = field(default=16_384, metadata={"help": "pairs that are lost at most when a build is killed"})
    dtype: str = field(default="float32", metadata={"help": "precision of the model: float32, bfloat16 or float16"})
    trust_remote_code: bool = field(default=False, metadata={"help": "run a Hub model's own code"})


def main() -> None:
    args = parse_arguments(BuildMemoryArguments, __doc__.split("\n\n")[0], positional="checkpoint")
    try:
        build(args)
    except UserError as error:
        raise SystemExit(f"build_memory.py: {error}") from None


def build(args: BuildMemoryArguments) -> dict:
    """Embed, filter and write; returns what `metrics.json` holds (on the main process)."""
    from datetime import timedelta

    import torch
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs
    from pretrain_setup import available_cores, launcher_chose_threads

    from hf_cloob.data.sources import load_pairs
    from hf_cloob.retrieval.building import build_memory

    started, output_dir = time.perf_counter(), Path(args.output_dir)
    with user_errors():
        check_arguments(args)
        accelerator = Accelerator(
            # Without it the processes that torchrun starts on a machine without accelerators would not join.
            cpu=not torch.accelerator.is_available(),
            # Shards take the processes unequal times, and the main process joins them alone.
            kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=6))],
        )
        if accelerator.device.type == "cpu" and launcher_chose_threads():
            torch.set_num_threads(max(1, available_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))
        encoder, processor = load_encoder(args.checkpoint, args.dtype, args.trust_remote_code)
        encoder.to(accelerator.device)
        with accelerator.main_process_first():
            if accelerator.is_main_process:
                finish_replacing(output_dir)
            check_exclusions(args, output_dir)
            pairs = load_pairs(
                args.dataset_name, args.dataset_config, args.dataset_split, args.image_column, args.caption_column
            )
        memory = build_memory(
            encoder, processor, pairs, output_dir, "image", "captions", args.batch_size, args.shard_size
        )
        removed = []
        if args.exclude_near_duplicates_of:
            test_embeds = embed_test_pictures(args, encoder, processor, accelerator)
            if accelerator.is_main_process:
                removed = remove_test_pictures(args, memory, test_embeds, output_dir)
    metrics = {}
    if accelerator.is_main_process:
        seconds = time.perf_counter() - started
        metrics = write_results(args, memory, len(pairs), len(removed), seconds, accelerator.num_processes)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return metrics


def check_arguments(args: BuildMemoryArguments) -> None:
    """Say what is wrong with the flags before anything is loaded."""
    from hf_cloob.retrieval.near_duplicates import LARGEST_RELIABLE_THRESHOLD

    for name in ("batch_size", "shard_size"):
        if getattr(args, name) < 1:
            raise UserError(f"{name} must be at least 1, got {getattr(args, name)}")
    if not -1 < args.near_duplicate_threshold <= LARGEST_RELIABLE_THRESHOLD:
        raise UserError(
            f"near_duplicate_threshold must be above -1 and at most {LARGEST_RELIABLE_THRESHOLD}, got "
            f"{args.near_duplicate_threshold}: with float16 keys the cosine of a picture with itself is 1 +- 0.001"
        )


def check_exclusions(args: BuildMemoryArguments, output_dir: Path) -> None:
    """Refuse a folder whose memory has been filtered otherwise: removed entries would not come back."""
    path = output_dir / REMOVED_FILE
    if not path.exists():
        return
    before, now = json.loads(path.read_text(encoding="utf-8")), exclusions(args)
    before.pop("removed_ids")
    if before != now:
        raise UserError(
            f"output_dir {output_dir} holds a memory that was filtered with {before}, now it is {now}: choose "
            "another folder, or delete that one"
        )


def exclusions(args: BuildMemoryArguments) -> dict | None:
    """The flags that decide what is removed; None if nothing is."""
    if not args.exclude_near_duplicates_of:
        return None
    return {name: getattr(args, name) for name in (*EXCLUSION_FLAGS, "near_duplicate_threshold")}


def embed_test_pictures(args: BuildMemoryArguments, encoder, processor, accelerator):
    """(num_pictures, projection_dim) of all test pictures that can be read, by all processes together."""
    import torch

    from hf_cloob.data.sources import dataset_names, load_table
    from hf_cloob.evaluation.cached_encoder import CachedEncoder
    from hf_cloob.evaluation.image_loading import DatasetImages

    cached = CachedEncoder(
        encoder,
        process_index=accelerator.process_index,
        num_processes=accelerator.num_processes,
        batch_size=args.batch_size,
        show_progress=accelerator.is_main_process,
    )
    embeds = []
    for name in dataset_names(args.exclude_near_duplicates_of):
        for split in args.exclude_split:
            with user_errors(f"exclude_near_duplicates_of {name} ({split}):"):
                with accelerator.main_process_first():
                    images = DatasetImages(load_table(name, args.exclude_config, split), args.exclude_image_column)
                embeds.append(cached.encode_readable_images(images, processor)[0])
    return torch.cat(embeds)


def remove_test_pictures(args: BuildMemoryArguments, memory, test_embeds, output_dir: Path) -> list[int]:
    """Replace the memory on disk by one without the test pictures; returns the ids that are not in it any more."""
    from hf_cloob.retrieval.near_duplicates import remove_near_duplicates

    path = output_dir / REMOVED_FILE
    removed = remove_near_duplicates(memory, test_embeds, args.near_duplicate_threshold).tolist()
    # A command that is given again finds a memory that they have been removed from.
    before = json.loads(path.read_text(encoding="utf-8"))["removed_ids"] if path.exists() else []
    record = exclusions(args) | {"removed_ids": sorted({*before, *removed})}
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if removed:
        aside = output_dir / f"{FILTERED_FOLDER}.unfinished"
        shutil.rmtree(aside, ignore_errors=True)
        memory.save_pretrained(aside)
        aside.rename(output_dir / FILTERED_FOLDER)
        finish_replacing(output_dir)
    return record["removed_ids"]


def finish_replacing(output_dir: Path) -> None:
    """Move a filtered memory into its place, also one that a killed command left on the way."""
    filtered = output_dir / FILTERED_FOLDER
    if filtered.is_dir():
        for path in filtered.iterdir():
            os.replace(path, output_dir / path.name)
        filtered.rmdir()


def write_results(
    args: BuildMemoryArguments, memory, rows: int, removed: int, seconds: float, num_processes: int
) -> dict:
    """Write and print the figures, and the flags that they belong to."""
    from hf_cloob.reco_captions import ENTRIES_FILE
    from hf_cloob.reco_memory_file import MEMORY_FILE
    from hf_cloob.training.run_log import write_metrics

    output_dir = Path(args.output_dir)
    metrics = {
        "rows": rows,
        "entries": len(memory),
        "skipped_rows": rows - len(memory) - removed,
        "near_duplicates_removed": removed,
        "projection_dim": memory.projection_dim,
        "bytes": sum((output_dir / name).stat().st_size for name in (MEMORY_FILE, ENTRIES_FILE)),
        "seconds": seconds,
        "num_processes": num_processes,
    }
    write_metrics(output_dir / "metrics.json", metrics)
    write_metrics(output_dir / "arguments.json", asdict(args))
    for name, value in metrics.items():
        print(f"{name:24} {value:.1f}" if isinstance(value, float) else f"{name:24} {value}")
    print(f"The memory is in {output_dir}")
    return metrics


if __name__ == "__main__":
    main()
