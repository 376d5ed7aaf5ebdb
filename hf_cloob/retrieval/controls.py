# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What a memory gives without training: the controls that a claim about a trained fusion layer has to beat.

All take a [`Lookup`], what images and classes found in a memory, and return scores of images and classes. Whatever
numbers a control has are chosen by `control_fitting` on labeled images that no figure is reported on.
"""

import itertools
import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn import functional as F

from ..reco_memory import RecoMemory, RecoNeighbors

SIDES = ("image", "text", "both")


class Lookup(NamedTuple):
    """Image queries, classes, and what they found.

    Args:
        image_embeds: (n, projection_dim), L2-normalized.
        class_embeds: (num_classes, projection_dim), embeddings of the prompts, L2-normalized.
        image_neighbors: of the images; their values are TEXT embeddings.
        class_neighbors: of the prompts; their values are IMAGE embeddings.
    """

    image_embeds: torch.Tensor
    class_embeds: torch.Tensor
    image_neighbors: RecoNeighbors
    class_neighbors: RecoNeighbors

    def of_images(self, rows: torch.Tensor) -> "Lookup":
        """The lookup of some of the images, by a mask or row numbers."""
        found = RecoNeighbors(*(part[rows] for part in self.image_neighbors))
        return self._replace(image_embeds=self.image_embeds[rows], image_neighbors=found)


class SideReadout(NamedTuple):
    """The numbers of one side's Hopfield readout.

    Args:
        weight: a.
        scale: b, an inverse temperature.
        null_score: s_0, the cosine of the null entry; None for none.
    """

    weight: float
    scale: float
    null_score: float | None = None


class Readout(NamedTuple):
    """A Hopfield readout.

    Args:
        k: neighbors.
        image: how images are refined; None leaves them as they are.
        text: how class prompts are refined; None leaves them as they are.
    """

    k: int
    image: SideReadout | None
    text: SideReadout | None


def look_up(image_embeds: torch.Tensor, class_embeds: torch.Tensor, memory: RecoMemory, k: int) -> Lookup:
    """Search the k nearest entries of every image and of every class prompt; controls may use fewer of them."""
    image_embeds, class_embeds = image_embeds.float(), class_embeds.float()
    found = memory.retrieve_for_images(image_embeds, k), memory.retrieve_for_texts(class_embeds, k)
    return Lookup(image_embeds, class_embeds, *found)


def look_up_at_random(
    image_embeds: torch.Tensor, class_embeds: torch.Tensor, memory: RecoMemory, k: int, generator: torch.Generator
) -> Lookup:
    """As `look_up`, but k entries are drawn at random for each query; their scores are the true cosines."""
    images, texts, ids = memory.image_embeds.float(), memory.text_embeds.float(), memory.ids

    def drawn(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> RecoNeighbors:
        rows = torch.randint(len(memory), (len(queries), k), generator=generator)
        scores, order = torch.einsum("nd,nkd->nk", queries, keys[rows]).sort(dim=1, descending=True)
        rows = rows.gather(1, order)
        return RecoNeighbors(values[rows], ids[rows], scores)

    image_embeds, class_embeds = image_embeds.float(), class_embeds.float()
    return Lookup(image_embeds, class_embeds, drawn(image_embeds, images, texts), drawn(class_embeds, texts, images))


def base_scores(lookup: Lookup) -> torch.Tensor:
    """Without a memory: <x, y_c>, (n, num_classes)."""
    return lookup.image_embeds @ lookup.class_embeds.T


def hopfield_scores(
    lookup: Lookup, k: int, image: Sequence | None = None, text: Sequence | None = None
) -> torch.Tensor:
    """The untrained readout of a modern Hopfield network, (n, num_classes).

        x' = l2norm(x + a sum_m w_m y_m),   w_m = exp(b <x, x_m>) / (exp(b s_0) + sum_j exp(b <x, x_j>))

    and on the side of the texts alike, with image values. The null entry, of score s_0 and value zero, is a threshold:
    queries that find nothing above it stay as they are.

    Args:
        lookup: with at least k neighbors.
        k: neighbors.
        image: [`SideReadout`] or its numbers a, b and s_0, of the images; None leaves them as they are.
        text: the same of the prompts.

    Raises:
        ValueError: for more neighbors than were looked up.

    Source: Ramsauer et al. 2021 (arXiv 2008.02217), equation 3, with a memory's keys and values. Ours: the null entry.
    """
    images, classes = lookup.image_embeds, lookup.class_embeds
    if image is not None:
        images = _readout(images, lookup.image_neighbors, k, SideReadout(*image))
    if text is not None:
        classes = _readout(classes, lookup.class_neighbors, k, SideReadout(*text))
    return images @ classes.T


def mean_scores(lookup: Lookup, side: str, k: int, weight: float) -> torch.Tensor:
    """The untrained mean of the neighbors, x' = l2norm(x + a mean_m y_m): `hopfield_scores` with b = 0.

    Raises:
        ValueError: for a side that is none of "image", "text" and "both".
    """
    return hopfield_scores(lookup, k, **on_sides(side, SideReadout(weight, 0.0)))


def vote_scores(lookup: Lookup, k: int, scale: float) -> torch.Tensor:
    """A vote of the neighbors of each image, (n, num_classes): sum_m exp(b (s_m - 1)) [c = class of m].

    A neighbor's class is the one whose prompt's embedding is nearest to its caption's.

    Args:
        lookup: with at least k neighbors.
        k: neighbors.
        scale: b.
    """
    neighbors = _nearest(lookup.image_neighbors, k)
    classes = (neighbors.embeds @ lookup.class_embeds.T).argmax(dim=2)
    votes = (scale * (neighbors.scores - 1)).exp()
    return votes.new_zeros(len(votes), len(lookup.class_embeds)).scatter_add_(1, classes, votes)


def cache_scores(lookup: Lookup, k: int, weight: float, scale: float) -> torch.Tensor:
    """Base scores and a cache of labeled neighbors, (n, num_classes): <x, y_c> + a sum_m exp(-b (1 - s_m)) [c of m].

    Source: Zhang et al. 2022 (Tip-Adapter, arXiv 2111.03930), the training-free form. Ours: classes come from the
    captions, as in `vote_scores`, and the k nearest entries stand for all, because most of a memory is distractors.
    """
    return base_scores(lookup) + weight * vote_scores(lookup, k, scale)


def name_scores(lookup: Lookup, memory: RecoMemory, class_names: Sequence[str]) -> torch.Tensor:
    """Look the classes' names up among the captions, as whole words, (n, num_classes).

    A class is scored by the cosine with the mean picture of the entries whose caption holds its name; a class that no
    caption names keeps the base's score.

    Args:
        lookup: images and classes; its neighbors are not used.
        memory: with captions.
        class_names: num_classes names, without the words of a prompt.
    """
    scores, keys = base_scores(lookup), memory.image_embeds
    for number, rows in named_entries(class_names, memory.captions_of(memory.ids)).items():
        prototype = F.normalize(keys[rows].float().mean(dim=0), dim=0)
        scores[:, number] = lookup.image_embeds @ prototype
    return scores


def named_entries(class_names: Sequence[str], captions: Sequence[str | None]) -> dict[int, list[int]]:
    """Class -> entries whose caption holds its name as whole words, case and punctuation aside."""
    classes: dict[tuple[str, ...], list[int]] = {}
    for number, name in enumerate(class_names):
        classes.setdefault(_words(name), []).append(number)
    classes.pop((), None)
    lengths, entries = sorted({len(words) for words in classes}), {}
    for row, caption in enumerate(captions):
        words = _words(caption or "")
        spans = {words[start : start + size] for size in lengths for start in range(len(words) - size + 1)}
        for number in itertools.chain.from_iterable(classes.get(span, ()) for span in spans):
            entries.setdefault(number, []).append(row)
    return entries


def accuracy(scores: torch.Tensor, labels: torch.Tensor, class_groups: torch.Tensor | None = None) -> float:
    """Share of images whose best class is right.

    Args:
        scores: (n, num_classes).
        labels: (n,) the right classes, or with `class_groups` their groups.
        class_groups: (num_classes,) groups of classes that are one answer, as two names of one flag.
    """
    predicted = scores.argmax(dim=1)
    predicted = predicted if class_groups is None else class_groups[predicted]
    return (predicted == labels).double().mean().item()


def on_sides(side: str, value) -> dict:
    """The value for each side that is meant: {"image": value}, {"text": value} or both.

    Raises:
        ValueError: for another side.
    """
    if side not in SIDES:
        raise ValueError(f"side must be one of {', '.join(SIDES)}, got {side!r}.")
    return {name: value for name in ("image", "text") if side in (name, "both")}


def _nearest(neighbors: RecoNeighbors, k: int) -> RecoNeighbors:
    if k > neighbors.scores.shape[1]:
        raise ValueError(f"k is {k}, but only {neighbors.scores.shape[1]} neighbors were looked up.")
    return RecoNeighbors(*(part[:, :k] for part in neighbors))


def _readout(embeds: torch.Tensor, neighbors: RecoNeighbors, k: int, side: SideReadout) -> torch.Tensor:
    neighbors = _nearest(neighbors, k)
    # A scale of 0 makes NaN of a missing neighbor's -inf.
    logits = (side.scale * neighbors.scores).masked_fill(~neighbors.mask, float("-inf"))
    if side.null_score is not None:
        logits = F.pad(logits, (0, 1), value=side.scale * side.null_score)
    weights = logits.softmax(dim=1)[:, : neighbors.scores.shape[1]]
    values = torch.einsum("nk,nkd->nd", weights, neighbors.embeds)
    return F.normalize(embeds + side.weight * values, dim=-1)


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text.casefold()))
