# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What train_reco.py trains on: embedded pairs, the neighbors they found, which are held out, and the batches."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from command_line import UserError, user_errors

# What is held out is evaluated at once, with all its neighbors.
MAX_VALIDATION_PAIRS = 5000


@dataclass
class RecoData:
    """Pairs and the memory that they look things up in.

    Args:
        memory: [`RecoMemory`], what the finished model looks things up in.
        pairs: [`RecoMemory`], the training pairs; the same object where they are the memory.
        neighbors: [`TrainingNeighbors`] of all pairs.
        captions: of all pairs, None where one is not known.
        train_rows: rows of the pairs that are trained on.
        validation_rows: rows of the pairs that are held out.
    """

    memory: Any
    pairs: Any
    neighbors: Any
    captions: list[str | None]
    train_rows: list[int]
    validation_rows: list[int]

    @cached_property
    def train_keys(self) -> list[tuple[str, ...]]:
        """What no two pairs of a batch may share, for each training pair: its caption, where it is known."""
        from hf_cloob.data.pairs import normalize_caption

        captions = (self.captions[row] for row in self.train_rows)
        return [() if caption is None else (normalize_caption(caption),) for caption in captions]


def build_data(args, model, processor, accelerator) -> RecoData:
    """Embed or open the pairs, open the memory, search the neighbors; every process must call."""
    from hf_cloob.reco_memory_checks import check_same_encoder
    from hf_cloob.retrieval.neighbor_cache import cached_training_neighbors

    output_dir = Path(args.output_dir)
    pairs_dir = args.train_pairs_dir or args.memory_dir
    if args.dataset_name:
        pairs_dir = output_dir / "train_pairs"
        embed_dataset(args, model, processor, accelerator, pairs_dir)
    memory_dir = args.memory_dir or pairs_dir
    memory = open_memory("memory_dir", memory_dir)
    pairs = memory if pairs_dir == memory_dir else open_memory("train_pairs_dir", pairs_dir)
    with user_errors(f"memory_dir {memory_dir}:"):
        model.set_memory(memory)
    with user_errors(f"train_pairs_dir {pairs_dir}:"):
        check_same_encoder(pairs.fingerprint, model.config.memory_fingerprint, "this model's base")
    # Training passes the neighbors, and a step must not pay for looking them up.
    model.set_memory(None)
    searched = memory
    if accelerator.device.type != "cpu":
        # Opened once more, so that what is trained and saved stays on disk.
        searched = open_memory("memory_dir", memory_dir).to(accelerator.device)
    neighbors = cached_training_neighbors(
        searched,
        pairs,
        args.neighbors_dir or output_dir / "neighbors",
        model.config.num_neighbors,
        args.near_duplicate_threshold,
    )
    captions = pairs.captions_of(pairs.ids)
    train_rows, validation_rows = split_by_caption(captions, args.validation_share)
    return RecoData(memory, pairs, neighbors, captions, train_rows, validation_rows)


def open_memory(flag: str, folder):
    """A memory from its folder."""
    from hf_cloob import RecoMemory

    with user_errors(f"{flag}:"):
        return RecoMemory.from_pretrained(folder)


def embed_dataset(args, model, processor, accelerator, folder: Path) -> None:
    """Embed the dataset that the flags name, by all processes; what is there already is not done again."""
    from hf_cloob.data.sources import load_pairs
    from hf_cloob.retrieval.building import build_memory

    with accelerator.main_process_first():
        pairs = load_pairs(
            args.dataset_name, args.dataset_config, args.dataset_split, args.image_column, args.caption_column
        )
    build_memory(model, processor, pairs, folder, "image", "captions", args.embed_batch_size)


def split_by_caption(captions: Sequence[str | None], share: float) -> tuple[list[int], list[int]]:
    """Rows to train on and rows to hold out, by a hash of the caption, so that no caption is on both sides.

    Of the held-out pairs with one caption the first is taken: two right answers to one query would count as a mistake.
    """
    from hf_cloob.data.pairs import normalize_caption

    share = min(share, MAX_VALIDATION_PAIRS / len(captions))
    train_rows, held_out = [], {}
    for row, caption in enumerate(captions):
        key = None if caption is None else normalize_caption(caption)
        if key is not None and caption_fraction(key) < share:
            held_out.setdefault(key, row)
        else:
            train_rows.append(row)
    validation_rows = list(held_out.values())[:MAX_VALIDATION_PAIRS]
    if share and len(validation_rows) < 2:
        raise UserError(
            f"validation_share {share:g} holds out {len(validation_rows)} of the {len(captions)} pairs, 2 are the "
            "least: raise it, or set it to 0"
        )
    return train_rows, validation_rows


def caption_fraction(key: str) -> float:
    """A number from 0 to 1 that depends on the caption alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64


def batch_inputs(data: RecoData, rows, kept=None) -> dict:
    """The model's inputs for some pairs, gathered from the memories.

    Args:
        rows: (n,) int64 rows of the pairs.
        kept: (n, 2, num_neighbors) bool, False for neighbors to leave out, of the images and of the texts.
    """
    neighbors, memory = data.neighbors, data.memory
    found = {
        "image": (neighbors.image_rows, neighbors.image_scores, memory.text_embeds),
        "text": (neighbors.text_rows, neighbors.text_scores, memory.image_embeds),
    }
    inputs = {"image_embeds": data.pairs.image_embeds[rows], "text_embeds": data.pairs.text_embeds[rows]}
    for side, (name, (neighbor_rows, scores, values)) in enumerate(found.items()):
        entries = neighbor_rows[rows]
        if kept is not None:
            entries = entries.masked_fill(~kept[:, side], -1)
        embeds = values[entries.clamp_min(0).flatten()].view(*entries.shape, values.shape[1])
        # Zeros stand for a neighbor that is not there.
        inputs[f"{name}_neighbor_embeds"] = embeds.masked_fill((entries < 0).unsqueeze(-1), 0)
        inputs[f"{name}_neighbor_scores"] = scores[rows]
    return inputs


def build_loader(args, data: RecoData, batch_size: int, num_steps: int, first_step: int, accelerator):
    """Batches of this process from `first_step` on, without two equal captions in a global batch."""
    import torch
    from torch.utils.data import DataLoader

    from hf_cloob.data.sampler import NoDuplicatesBatchSampler

    sampler = NoDuplicatesBatchSampler(
        len(data.train_rows),
        lambda epoch, index: data.train_keys[index],
        batch_size,
        num_steps,
        seed=args.seed,
        first_step=first_step,
        process_index=accelerator.process_index,
        num_processes=accelerator.num_processes,
    )
    return DataLoader(
        TrainingPairs(data, args.seed, args.neighbor_dropout),
        batch_sampler=sampler,
        collate_fn=as_it_is,
        num_workers=args.num_workers,
        pin_memory=accelerator.device.type == "cuda",
        # A loader without its own generator draws from torch's at every start, which a resumed run has once more.
        generator=torch.Generator(),
    )


class TrainingPairs:
    """The training pairs as a torch dataset of whole batches, by keys (epoch, index).

    Which neighbors drop out is a function of (seed, epoch, index): neither the number of processes nor where a run
    resumes changes it.
    """

    def __init__(self, data: RecoData, seed: int, neighbor_dropout: float):
        import torch

        self.data, self.seed, self.neighbor_dropout = data, seed, neighbor_dropout
        self.rows = torch.tensor(data.train_rows)
        self._epoch, self._kept = -1, None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, keys: list[tuple[int, int]]) -> dict:
        import torch

        # A batch lies within one epoch.
        epoch, indices = keys[0][0], torch.tensor([index for _, index in keys])
        kept = self._kept_in(epoch)[indices] if self.neighbor_dropout else None
        return batch_inputs(self.data, self.rows[indices], kept)

    def _kept_in(self, epoch: int):
        """(num_pairs, 2, num_neighbors) bool."""
        import torch

        from hf_cloob.data.pairs import sample_seed

        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(sample_seed(self.seed, epoch, -2) >> 1)
            shape = len(self.rows), 2, self.data.neighbors.image_rows.shape[1]
            self._epoch, self._kept = epoch, torch.rand(shape, generator=generator) >= self.neighbor_dropout
        return self._kept


def as_it_is(batch: dict) -> dict:
    """A batch that needs no collating."""
    return batch
