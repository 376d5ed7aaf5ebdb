# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Building a large memory: in shards, over processes, and on from where a killed run stopped."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..reco_building import NoUsableRow
from ..reco_fingerprint import encoder_fingerprint
from ..reco_memory import RecoMemory
from ..reco_memory_file import MEMORY_FILE

if TYPE_CHECKING:
    import datasets

PLAN_FILE = "memory_build.json"
SHARDS_FOLDER = "memory_shards"
# Marks a shard in which not a single row could be used.
EMPTY_FILE = "no_usable_row"


def build_memory(
    model,
    processor,
    dataset: "datasets.Dataset",
    output_dir: str | Path,
    image_column: str = "image",
    caption_column: str = "caption",
    batch_size: int = 256,
    shard_size: int = 16_384,
    show_progress: bool = True,
) -> RecoMemory:
    """Embed a dataset into a memory folder; all processes of a launch take part, and a killed build goes on.

    Each process embeds every n-th shard of rows and writes it whole or not at all. The main process then joins the
    shards, memory-mapped, so that the memory is never in RAM as a whole. The result does not depend on the number of
    processes, and not on how often the build was interrupted.

    Args:
        model: a dual encoder on this process's device; see `RecoMemory.build`.
        processor: its processor.
        dataset: a map-style dataset; an entry's id is its row number.
        output_dir: folder of the memory, and of the shards until they are joined.
        image_column: pictures.
        caption_column: strings, or lists of strings, of which the first is taken.
        batch_size: pairs per forward pass.
        shard_size: rows that are lost at most when the build is killed.
        show_progress: show progress bars, on the main process.

    Returns:
        the memory, opened memory-mapped.

    Raises:
        ValueError: if the folder holds another build's result or shards, or no row can be used.
    """
    from accelerate import PartialState

    # Without cpu=True, Accelerate does not look for other processes on machines without an accelerator.
    state, output_dir = PartialState(cpu=not torch.accelerator.is_available()), Path(output_dir)
    if shard_size < 1:
        raise ValueError(f"shard_size must be at least 1, got {shard_size}.")
    encoder = model.base if model.config.model_type == "reco" else model
    plan = {
        "fingerprint": encoder_fingerprint(encoder),
        "rows": len(dataset),
        "captions": _caption_checksum(dataset, caption_column),
        "columns": [image_column, caption_column],
        "batch_size": batch_size,
        "shard_size": shard_size,
    }
    with state.main_process_first():
        _settle_plan(output_dir, plan)
    starts = range(0, len(dataset), shard_size)
    if not (output_dir / MEMORY_FILE).exists():
        for number in range(state.process_index, len(starts), state.num_processes):
            rows = range(starts[number], min(starts[number] + shard_size, len(dataset)))
            _build_shard(
                _shard_folder(output_dir, number),
                lambda rows=rows: RecoMemory.build(
                    model,
                    processor,
                    dataset.select(rows),
                    image_column,
                    caption_column,
                    batch_size,
                    first_id=rows.start,
                    show_progress=show_progress and state.is_main_process,
                ),
            )
        state.wait_for_everyone()
        if state.is_main_process:
            _join([_shard_folder(output_dir, number) for number in range(len(starts))], output_dir)
    if state.is_main_process:
        shutil.rmtree(output_dir / SHARDS_FOLDER, ignore_errors=True)
    state.wait_for_everyone()
    return RecoMemory.from_pretrained(output_dir)


def _caption_checksum(dataset: "datasets.Dataset", caption_column: str) -> str:
    """A checksum of a thousand captions, which tells one dataset from another without reading its pictures."""
    if caption_column not in dataset.column_names:
        raise ValueError(f"The dataset has no column {caption_column!r}; its columns are {dataset.column_names}.")
    captions = dataset.select_columns([caption_column])
    sampled = captions[range(0, len(captions), max(1, len(captions) // 1000))][caption_column]
    return hashlib.sha256(json.dumps(sampled).encode()).hexdigest()[:32]


def _settle_plan(output_dir: Path, plan: dict) -> None:
    """Write what is being built, or check that it is what was being built here before."""
    path = output_dir / PLAN_FILE
    if not path.exists():
        if (output_dir / MEMORY_FILE).exists():
            raise ValueError(f"{output_dir} holds a memory that was not built here: choose another output_dir.")
        output_dir.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(plan, indent=2) + "\n", encoding="utf-8")
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    differing = [name for name in plan if before.get(name) != plan[name]]
    if differing:
        raise ValueError(
            f"{output_dir} holds another memory, or part of one: {differing[0]} was {before.get(differing[0])!r} and "
            f"is {plan[differing[0]]!r} now. Choose another output_dir, or delete that one."
        )


def _shard_folder(output_dir: Path, number: int) -> Path:
    return output_dir / SHARDS_FOLDER / f"{number:06d}"


def _build_shard(folder: Path, build) -> None:
    if folder.is_dir():
        return
    aside = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        build().save_pretrained(aside)
    except NoUsableRow as error:
        # One shard of broken rows must not end the building of the others.
        (aside / EMPTY_FILE).write_text(f"{error}\n", encoding="utf-8")
    aside.rename(folder)


def _join(folders: list[Path], output_dir: Path) -> None:
    usable = [folder for folder in folders if not (folder / EMPTY_FILE).exists()]
    if not usable:
        raise NoUsableRow("No row of the dataset has a readable image and a caption.")
    memory = RecoMemory.from_pretrained(usable[0])
    for folder in usable[1:]:
        memory.merge(RecoMemory.from_pretrained(folder))
    memory.save_pretrained(output_dir)
