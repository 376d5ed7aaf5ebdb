# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What explaining_away.py asks a model, and the answers: one value for every test picture."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ASKED = ("most", "least")
PLACES = {"most": 0, "least": -1}
SWAP_SEED = 2026


@dataclass(frozen=True)
class Questions:
    """The test pictures with all that is asked about them.

    Args:
        images, captions: num_images each.
        contained: (num_images, 4) int64, rows of `labels`, most salient first, then -1.
        swapped: for `most` and `least`, every caption with this object's name exchanged for one the picture lacks.
        alone: for `most` and `least`, every picture with this object where it was and nothing else.
        labels: the names of all concepts that a caption may hold.
        fit_images, fit_contained: what the probes learn from.
    """

    images: Sequence
    captions: list[str]
    contained: Any
    swapped: dict[str, list[str]]
    alone: dict[str, Sequence]
    labels: list[str]
    fit_images: Sequence
    fit_contained: Any


def load_questions() -> Questions:
    """Half B of Noto: the test pictures of the compositions, and those for probes."""
    from hf_cloob.data.composed_pictures import only_drawing
    from hf_cloob.data.emoji_compositions import load_emoji_compositions

    compositions = load_emoji_compositions()
    test, fit = compositions["test"], compositions["probe"]
    names = {
        concept: label
        for split in compositions.values()
        for concepts, labels in zip(split["concepts"], split["labels"], strict=True)
        for concept, label in zip(concepts, labels, strict=True)
    }
    numbers = {concept: number for number, concept in enumerate(sorted(names))}
    images, boxes = test["image"][:], test["boxes"][:]
    reported = sorted({concept for concepts in test["concepts"] for concept in concepts})
    return Questions(
        images=images,
        captions=test["caption"][:],
        contained=contained_table(test["concepts"][:], numbers),
        swapped={role: swapped_captions(test, PLACES[role], reported, names) for role in ASKED},
        alone={
            role: [only_drawing(image, own[PLACES[role]]) for image, own in zip(images, boxes, strict=True)]
            for role in ASKED
        },
        labels=[names[concept] for concept in numbers],
        fit_images=fit["image"][:],
        fit_contained=contained_table(fit["concepts"][:], numbers),
    )


def contained_table(concepts: Sequence[Sequence[str]], numbers: dict[str, int]):
    """(num_images, most objects of a picture) int64, -1 behind the last object."""
    import torch

    width = max(map(len, concepts))
    return torch.tensor([[*(numbers[name] for name in own), *[-1] * (width - len(own))] for own in concepts])


def swapped_captions(dataset, place: int, concepts: Sequence[str], names: dict[str, str]) -> list[str]:
    """Each caption with one object's name exchanged, where it stands, for a concept that the picture lacks."""
    rng = random.Random(f"{SWAP_SEED}:{place}")
    captions = []
    for caption, own in zip(dataset["caption"], dataset["concepts"], strict=True):
        while (other := rng.choice(concepts)) in own:
            pass
        captions.append(swap_name(caption, names[own[place]], names[other]))
    return captions


def swap_name(caption: str, name: str, other: str) -> str:
    """A caption "a, b and c" with one of its names exchanged; a name inside another name stays."""
    head, last = caption.rsplit(" and ", 1)
    parts = [other if part == name else part for part in (*head.split(", "), last)]
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def measured_values(folder: Path, questions: Questions) -> dict:
    """`measure_run`, or what it gave before, from the model's folder."""
    from safetensors.torch import load_file, save_file

    kept, weights = folder / "explaining_away.safetensors", folder / "model.safetensors"
    if kept.is_file() and kept.stat().st_mtime > weights.stat().st_mtime:
        values = load_file(kept)
        if {len(own) for own in values.values()} == {len(questions.captions)}:
            return values
    values = measure_run(folder, questions)
    save_file(values, kept)
    return values


def measure_run(folder: Path, questions: Questions) -> dict:
    """All measures of one model: name -> (num_images,) float64, see `hf_cloob.evaluation.explaining_away`.

    `alone_{role}_{figure}` is retrieval on pictures of that object alone: what the model would see without the others.
    `{measure}_least_minus_most_{figure}` is the difference within a picture.
    """
    from transformers import AutoProcessor

    from hf_cloob import CloobModel
    from hf_cloob.evaluation.explaining_away import (
        forced_choice,
        measure_pictures,
        num_absent,
        rank_measures,
        ranks_among_absent,
    )

    model, processor = CloobModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)

    def images(pictures: Sequence):
        return model.encode_images(pictures, processor, batch_size=256)

    image_embeds, contained = images(questions.images), questions.contained
    captions = [questions.captions, *questions.swapped.values()]
    labels, true, *swapped = encode_text_lists(model, processor.tokenizer, [questions.labels, *captions])
    found = measure_pictures(image_embeds, contained, labels, images(questions.fit_images), questions.fit_contained)
    absent = num_absent(contained, len(labels))
    for role, others in zip(questions.swapped, swapped, strict=True):
        found[f"forced_choice_{role}_accuracy"] = forced_choice(image_embeds, true, others)
        wanted = contained.gather(1, (contained >= 0).sum(dim=1, keepdim=True) - 1)[:, 0]
        wanted = contained[:, 0] if role == "most" else wanted
        ranks = ranks_among_absent(images(questions.alone[role]) @ labels.T, wanted, contained)
        found |= {f"alone_{role}_{name}": values for name, values in rank_measures(ranks, absent).items()}
    least = [name for name in found if "_least_" in name]
    return found | {
        name.replace("_least_", "_least_minus_most_"): found[name] - found[name.replace("_least_", "_most_")]
        for name in least
    }


def encode_text_lists(model, tokenizer, lists: Sequence[list[str]]) -> list:
    """Embeddings of several lists of texts; the states of a frozen tower are the same for all models that share it."""
    import torch
    from torch.nn.functional import normalize

    from hf_cloob.data.npm_packages import default_cache_dir
    from hf_cloob.encoding import context_length
    from hf_cloob.gap_closing import subtract_offset
    from hf_cloob.training.frozen_towers import PooledTextCache, freeze

    freeze(model.text_model)
    texts = [text for own in lists for text in own]
    length = context_length(model.config.text_config, tokenizer)
    states = PooledTextCache(model, tokenizer, length, texts, cache_dir=default_cache_dir() / "text_states")
    with torch.no_grad():
        embeds = normalize(subtract_offset(model.text_projection(states(texts)), model.text_offset).float(), dim=-1)
    return list(embeds.cpu().split([len(own) for own in lists]))
