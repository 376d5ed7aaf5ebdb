# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What benchmark_edits.py measures: edits of one picture, edits of all at once, and what removing them restores."""

import random
import statistics
import time
from dataclasses import dataclass

from benchmark_edits_data import EditData
from command_line import UserError
from explanations import add_entry, predict


@dataclass
class Edit:
    """What adding one picture, and removing it again, did.

    Args:
        row, added_row: the drawing that was asked for, and the one that was added.
        recognized: whether the query's best label is right afterwards.
        mistaken: whether another flag is taken for the added one.
        restored: whether removing brought the former logits back, bit for bit.
        add_seconds: embedding and adding.
        remove_seconds: removing.
    """

    row: int
    added_row: int
    recognized: bool
    mistaken: bool
    restored: bool
    add_seconds: float
    remove_seconds: float


def measure(args, model, processor, data: EditData, family: str) -> tuple[dict, list[Edit]]:
    """All figures of one query family, and its one-shot edits."""
    from tqdm.auto import tqdm

    candidates = data.candidates(family, args.added_family, "test")
    known = recognized(model, data, candidates)
    unknown = [pair for pair, right in zip(candidates, known, strict=True) if not right]
    if len(unknown) < 2:
        raise UserError(f"{len(unknown)} of the {len(candidates)} flags of {family} are not recognized, 2 are needed")
    chosen = random.Random(args.seed).sample(unknown, min(args.num_flags, len(unknown)))
    # What the first edit of all sets up must not count.
    one_shot(model, processor, data, *chosen[:2])
    others = chosen[1:] + chosen[:1]
    edits = [
        one_shot(model, processor, data, pair, other)
        for pair, other in zip(tqdm(chosen, desc=family, unit="flag"), others, strict=True)
    ]
    figures = {
        "num_candidates": len(candidates),
        "recognized_before": sum(known),
        "num_flags": len(chosen),
        "recognized": sum(edit.recognized for edit in edits),
        "mistaken": sum(edit.mistaken for edit in edits),
        "restored": sum(edit.restored for edit in edits),
        **all_at_once(model, data, chosen),
    }
    return figures, edits


def all_at_once(model, data: EditData, pairs: list[tuple[int, int]]) -> dict[str, int | bool]:
    """Add the pictures of all pairs, ask for every flag, and remove them again."""
    import torch

    queries = data.image_embeds[[row for row, _ in pairs]], data.label_embeds
    before = predict(model, *queries).logits
    ids = add_embedded(data, [added for _, added in pairs])
    right = recognized(model, data, pairs)
    data.memory.remove(ids)
    restored = torch.equal(before, predict(model, *queries).logits)
    return {"recognized_at_once": sum(right), "restored_at_once": restored}


def one_shot(model, processor, data: EditData, pair: tuple[int, int], other: tuple[int, int]) -> Edit:
    """Add one picture, ask for its flag and for another one, and remove it."""
    import torch

    row, added_row = pair
    queries = data.image_embeds[[row, other[0]]], data.label_embeds
    image, caption = data.flags[added_row]["image"], data.caption(added_row)
    before = predict(model, *queries).logits
    started = time.perf_counter()
    id = add_entry(model, processor, image, caption)
    add_seconds = time.perf_counter() - started
    first, second = predict(model, *queries).logits.argmax(dim=1).tolist()
    started = time.perf_counter()
    model.memory.remove(id)
    remove_seconds = time.perf_counter() - started
    restored = torch.equal(before, predict(model, *queries).logits)
    mistaken = data.is_right(second, row) and not data.is_right(second, other[0])
    return Edit(row, added_row, data.is_right(first, row), mistaken, restored, add_seconds, remove_seconds)


def recognized(model, data: EditData, pairs: list[tuple[int, int]]) -> list[bool]:
    """Whether the best label of each query is right, all in one batch."""
    rows = [row for row, _ in pairs]
    best = predict(model, data.image_embeds[rows], data.label_embeds).logits.argmax(dim=1).tolist()
    return [data.is_right(label, row) for label, row in zip(best, rows, strict=True)]


def add_embedded(data: EditData, rows: list[int]):
    """Add drawings whose embeddings are known, and return their ids."""
    import torch

    captions = [data.caption(row) for row in rows]
    texts = torch.stack([data.text_embeds[caption] for caption in captions])
    return data.memory.add(data.image_embeds[rows], texts, captions=captions)


def edit_seconds(edits: list[Edit]) -> dict[str, float]:
    """Median and longest of all edits."""
    seconds = {"add": [edit.add_seconds for edit in edits], "remove": [edit.remove_seconds for edit in edits]}
    figures = {f"{name}_seconds": statistics.median(values) for name, values in seconds.items()}
    return figures | {f"{name}_seconds_max": max(values) for name, values in seconds.items()}
