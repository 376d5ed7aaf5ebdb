# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Building memories in other processes: importable, and a command of its own that a test can kill."""

import sys
import time
from pathlib import Path

from datasets import Dataset, Features, Image, Value
from PIL import Image as PILImage
from tiny_reco import tiny_base, tiny_base_processor

from hf_cloob.retrieval.building import build_memory

SHARD_SIZE = 4
BROKEN_ROWS = (4, 5, 6, 7, 13)


def pictures(folder: Path, number: int = 18) -> Dataset:
    """Pairs of which a whole shard and one more row are broken."""
    folder.mkdir(exist_ok=True)
    paths = [str(folder / f"{index}.png") for index in range(number)]
    for index, path in enumerate(paths):
        if not Path(path).exists():
            PILImage.effect_noise((20, 20), 10 + 9 * index).convert("RGB").save(path)
        if index in BROKEN_ROWS:
            Path(path).write_bytes(b"no picture")
    columns = {"image": paths, "caption": [f"picture number {index}" for index in range(number)]}
    return Dataset.from_dict(columns, features=Features({"image": Image(), "caption": Value("string")}))


def build(folder: Path, output: Path, **changes):
    arguments = {"batch_size": 3, "shard_size": SHARD_SIZE, "show_progress": False} | changes
    return build_memory(tiny_base("cloob"), tiny_base_processor("cloob"), pictures(folder), output, **arguments)


def build_in_process(rank: int, folder: str, output: str) -> tuple:
    memory = build(Path(folder), Path(output))
    return memory.ids, memory.image_embeds.clone(), memory.text_embeds.clone()


def build_slowly(folder: str, output: str) -> None:
    """A second for each shard, so that a test can kill it in the middle."""
    from hf_cloob.retrieval import building

    whole = building._build_shard

    def slow(*arguments) -> None:
        whole(*arguments)
        print("shard", flush=True)
        time.sleep(30)

    building._build_shard = slow
    build(Path(folder), Path(output))


if __name__ == "__main__":
    build_slowly(*sys.argv[1:])
