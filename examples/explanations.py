# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""From a RECO's predictions to what a neighbor sheet shows, for explain_reco.py and benchmark_edits.py."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from command_line import UserError, user_errors

if TYPE_CHECKING:
    import torch

    from hf_cloob import RecoNeighbors
    from hf_cloob.evaluation.neighbor_sheet import Explanation, Neighbor

# Entries drawn of each query, which may have found more.
SHOWN_NEIGHBORS = 10


class Prediction(NamedTuple):
    """What a model says of some pictures, and what pictures and labels found.

    Args:
        logits: (num_images, num_labels).
        probabilities: (num_images, num_labels), as the pipelines give them.
        image_neighbors: of the images; None without a memory, or if it does not refine them.
        text_neighbors: of the labels; None without a memory, or if it does not refine them.
    """

    logits: "torch.Tensor"
    probabilities: "torch.Tensor"
    image_neighbors: "RecoNeighbors | None"
    text_neighbors: "RecoNeighbors | None"


def predict(model, image_embeds, text_embeds) -> Prediction:
    """Score all labels for all pictures.

    Args:
        model: a `RecoForZeroShot`, with its memory or without one.
        image_embeds: (num_images, projection_dim) of its base.
        text_embeds: (num_labels, projection_dim) of its base.
    """
    import torch

    with torch.no_grad():
        outputs = model(image_embeds=image_embeds, text_embeds=text_embeds, return_neighbors=model.memory is not None)
    logits = outputs.logits_per_image
    # A model that was trained with the sigmoid loss judges each label by itself.
    probabilities = logits.softmax(dim=-1) if model.logit_bias is None else logits.sigmoid()
    return Prediction(logits, probabilities, outputs.image_neighbors, outputs.text_neighbors)


def predict_with_base(model, image_embeds, text_embeds) -> Prediction:
    """The same without the memory, which the model has again afterwards."""
    memory = model.memory
    model.set_memory(None)
    try:
        return predict(model, image_embeds, text_embeds)
    finally:
        model.set_memory(memory)


def add_entry(model, processor, image, caption: str) -> int:
    """Embed a picture and its caption, add them to the model's memory, and return the entry's id."""
    from hf_cloob import RecoMemory

    first_id = int(model.memory.ids.max()) + 1
    pair = [{"image": image, "caption": caption}]
    model.memory.merge(RecoMemory.build(model, processor, pair, first_id=first_id, show_progress=False))
    return first_id


class MemoryPictures:
    """Pictures of entries: of those in `added`, and of the dataset that the memory was built from, if it is named.

    Args:
        memory: what is explained, as it was loaded.
        dataset_name: as all others an argument of `hf_cloob.data.sources.load_pairs`; its row numbers are the ids.
    """

    def __init__(self, memory, dataset_name: str | None, *columns: str | None):
        from hf_cloob.data.sources import load_pairs

        self.dataset_name, self.pairs, self.added = dataset_name, None, {}
        if dataset_name:
            with user_errors(f"memory_images {dataset_name!r}:"):
                self.pairs = load_pairs(dataset_name, *columns)
            first = memory.ids[:1]
            self(int(first), memory.captions_of(first)[0])

    def __call__(self, id: int, caption: str | None):
        """The picture of an entry, None where there is none; another caption than the entry's is a `UserError`."""
        if id in self.added or self.pairs is None or id >= len(self.pairs):
            return self.added.get(id)
        row = self.pairs[id]
        own = row["captions"][0]
        if caption is not None and caption != own:
            raise UserError(
                f"memory_images {self.dataset_name} is not what the memory was built from: entry {id} has the caption "
                f"{caption!r}, row {id} has {own!r}"
            )
        return row["image"]


def found_by(
    memory,
    neighbors: "RecoNeighbors | None",
    row: int,
    picture_of: Callable[[int, str | None], object],
    new_ids: Sequence[int] = (),
) -> list["Neighbor"]:
    """The entries that one query found, best first; none where nothing was looked up.

    Args:
        memory: where they were found, before it is edited any further.
        neighbors: of all queries.
        row: the query's.
        picture_of: an entry's picture by its id and caption, or None.
        new_ids: entries that an edit has added.
    """
    from hf_cloob.evaluation.neighbor_sheet import Neighbor

    if neighbors is None:
        return []
    ids, scores = neighbors.ids[row][neighbors.mask[row]], neighbors.scores[row][neighbors.mask[row]]
    ids, scores = ids[:SHOWN_NEIGHBORS], scores[:SHOWN_NEIGHBORS]
    rows = zip(ids.tolist(), scores.tolist(), memory.captions_of(ids), strict=True)
    return [Neighbor(id, score, caption, picture_of(id, caption), id in new_ids) for id, score, caption in rows]


def explanation(
    image,
    name: str,
    labels: Sequence[str],
    stages: Sequence["torch.Tensor"],
    found: Sequence[tuple[str, Sequence["Neighbor"]]],
    num_labels: int,
    right_labels: Sequence[str] = (),
) -> "Explanation":
    """The best labels of the last stage, the best of each earlier one, and a right one, with all their scores.

    Args:
        labels: all labels.
        stages: for each stage the probabilities of all labels, (len(labels),).
        num_labels: how many of the last stage are shown.
    """
    from hf_cloob.evaluation.neighbor_sheet import Explanation

    rows = stages[-1].topk(min(num_labels, len(labels))).indices.tolist()
    rows += [int(stage.argmax()) for stage in stages[:-1]]
    right = [row for row, label in enumerate(labels) if label in right_labels]
    if right and set(right).isdisjoint(rows):
        rows.append(max(right, key=lambda row: float(stages[-1][row])))
    rows = list(dict.fromkeys(rows))
    scores = [[float(stage[row]) for stage in stages] for row in rows]
    return Explanation(image, name, [labels[row] for row in rows], scores, found, right_labels)
