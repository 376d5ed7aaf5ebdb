# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The picture that benchmark_edits.py draws: some flags by the base, with the memory, and after one was added."""

from pathlib import Path

from benchmark_edits_data import EditData
from benchmark_edits_measures import Edit
from explanations import add_entry, explanation, found_by, predict, predict_with_base

# On the page: edits, and the best labels of each.
SHOWN, NUM_LABELS = 4, 4


def examples(edits: list[Edit]) -> list[Edit]:
    """The first flags that one picture was not enough for, at most two, and the first that it was enough for."""
    failed = [edit for edit in edits if not edit.recognized][: SHOWN // 2]
    return [edit for edit in edits if edit.recognized][: SHOWN - len(failed)] + failed


def draw(model, processor, data: EditData, edits: list[Edit], path: Path) -> None:
    """Some flags by the base, with the memory, and after one picture was added, which is removed again."""
    from hf_cloob.evaluation.neighbor_sheet import neighbor_sheet

    cards = [card(model, processor, data, edit) for edit in edits]
    title = f"One picture added to {len(model.memory):,} entries without a flag"
    neighbor_sheet(cards, ("base", "with memory", "one picture added"), path, title)


def card(model, processor, data: EditData, edit: Edit):
    """The `Explanation` of one edit."""
    queries = data.image_embeds[[edit.row]], data.label_embeds
    predictions = [predict_with_base(model, *queries), predict(model, *queries)]
    added = data.flags[edit.added_row]["image"]
    id = add_entry(model, processor, added, data.caption(edit.added_row))
    predictions.append(after := predict(model, *queries))
    best = int(after.probabilities[0].argmax())

    def picture_of(entry: int, caption: str | None):
        return added if entry == id else data.distractors[entry]["image"]

    found = {
        "found by the picture": found_by(model.memory, after.image_neighbors, 0, picture_of, [id]),
        f"found by “{data.labels[best]}”": found_by(model.memory, after.text_neighbors, best, picture_of, [id]),
    }
    model.memory.remove(id)
    row = data.rows[edit.row]
    return explanation(
        data.flags[edit.row]["image"],
        f"{row['label']} ({row['family']})",
        data.labels,
        [prediction.probabilities[0] for prediction in predictions],
        [(heading, neighbors) for heading, neighbors in found.items() if neighbors],
        NUM_LABELS,
        [label for number, label in enumerate(data.labels) if data.is_right(number, edit.row)],
    )
