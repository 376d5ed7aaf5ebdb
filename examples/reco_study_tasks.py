# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The tasks of reco_study.py: for each seed and query style a memory, pairs to train on, and labeled queries.

Flags are asked for in a style that the memory does not hold, emoji in Noto's, which no memory holds. A seed decides
how each entry of the memory is worded and which icons distract.
"""

import random
from collections import Counter
from dataclasses import dataclass

import torch
from reco_study_embeds import Drawings, StudyEmbeds, emoji_wordings

from hf_cloob import RecoMemory
from hf_cloob.data.emoji_protocol import in_selection_half

NOTO = "noto"
FINE_SUBGROUPS = ("animal-mammal", "person-role", "clothing")
# Rows of the memory, by what they show.
FLAG, EMOJI, ICON = 0, 1, 2


@dataclass
class Entries:
    """Pairs in the making: pictures, captions, and what they show.

    Args:
        image_embeds: (n, projection_dim).
        captions: n texts.
        entities: n keys; entries of one key show the same thing.
        sources: n of FLAG, EMOJI and ICON.
    """

    image_embeds: torch.Tensor
    captions: list[str]
    entities: list[tuple[int, str]]
    sources: list[int]


@dataclass
class Task:
    """One query style under one seed.

    Args:
        style: of the queries.
        seed: of the memory.
        entries: what the memory holds, row by row.
        memory: [`RecoMemory`] of the entries.
        pairs: [`RecoMemory`] of the training pairs.
        own_ids: (num_pairs,) each pair's own entry, -1 for none.
        pair_entities: num_pairs keys as in [`Entries`].
        image_embeds: (n, projection_dim) queries.
        labels: (n,) group of the right classes.
        selection: (n,) bool, True for the half that choices are made on; figures are of the others.
        entities: n keys as in [`Entries`].
        parts: n names of what figures are also given for alone: the style, or Noto's groups.
        class_embeds: (num_classes, projection_dim) of the prompts.
        class_names: num_classes bare names.
        class_groups: (num_classes,) group of each class; classes of one group are one answer.
    """

    style: str
    seed: int
    entries: Entries
    memory: RecoMemory
    pairs: RecoMemory
    own_ids: torch.Tensor
    pair_entities: list[tuple[int, str]]
    image_embeds: torch.Tensor
    labels: torch.Tensor
    selection: torch.Tensor
    entities: list[tuple[int, str]]
    parts: list[str]
    class_embeds: torch.Tensor
    class_names: list[str]
    class_groups: torch.Tensor


def build_task(embeds: StudyEmbeds, style: str, seed: int, args) -> Task:
    """The memory, the training pairs and the queries of one style under one seed.

    Args:
        embeds: all embeddings.
        style: a family of flags, or "noto".
        seed: of wordings and distractors.
        args: the command's; `distractors`, `train_distractors` and `fusion_family` count.
    """
    generator, wording = torch.Generator().manual_seed(seed), random.Random(seed)
    flags, emoji = embeds.flags, embeds.emoji["train"]
    icons = torch.randperm(len(embeds.icons), generator=generator)[: args.distractors].tolist()
    shown = [row for row, family in enumerate(flags.columns["family"]) if family != style]
    asked = [row for row, family in enumerate(emoji.columns["family"]) if family == args.fusion_family]
    held = [row for row, family in enumerate(emoji.columns["family"]) if family != args.fusion_family]
    entries = joined(
        flag_entries(flags, shown, lambda row: wording.choice(flags.columns["captions"][row])),
        emoji_entries(emoji, held, lambda row: wording.choice(emoji_wordings(emoji.columns["captions"][row]))),
        icon_entries(embeds.icons, icons),
    )

    def own(rows: list[int], wanted, first: int) -> tuple[list[int], list[int]]:
        """Rows that are wanted, and the numbers of their entries in the memory."""
        kept = [(row, first + place) for place, row in enumerate(rows) if wanted(row)]
        return [row for row, _ in kept], [number for _, number in kept]

    flag_rows, flag_ids = own(shown, lambda row: _may_train_flag(flags, row), 0)
    # Emoji of a style that is not in the memory train for queries of unseen styles.
    emoji_rows, emoji_ids = own(asked or held, lambda row: _may_train_emoji(emoji, row), len(shown))
    emoji_ids = [-1] * len(emoji_rows) if asked else emoji_ids
    icon_rows = icons[: args.train_distractors]
    icon_ids = list(range(len(shown) + len(held), len(shown) + len(held) + len(icon_rows)))
    pairs = joined(
        flag_entries(flags, flag_rows, flags.columns["label"].__getitem__),
        emoji_entries(emoji, emoji_rows, lambda row: emoji.columns["captions"][row][0]),
        icon_entries(embeds.icons, icon_rows),
    )
    return Task(
        style=style,
        seed=seed,
        entries=entries,
        memory=to_memory(embeds, entries),
        pairs=to_memory(embeds, pairs),
        own_ids=torch.tensor(flag_ids + emoji_ids + icon_ids),
        pair_entities=pairs.entities,
        **(_noto_queries(embeds) if style == NOTO else _flag_queries(embeds, style)),
    )


def flag_entries(flags: Drawings, rows: list[int], caption_of) -> Entries:
    """Flags in the form of entries; drawings of one flag are one entity."""
    entities = [(FLAG, min(flags.columns["same_flag_codes"][row])) for row in rows]
    return Entries(flags.image_embeds[rows], [caption_of(row) for row in rows], entities, [FLAG] * len(rows))


def emoji_entries(emoji: Drawings, rows: list[int], caption_of) -> Entries:
    """Emoji in the form of entries."""
    entities = [(EMOJI, emoji.columns["concept"][row]) for row in rows]
    return Entries(emoji.image_embeds[rows], [caption_of(row) for row in rows], entities, [EMOJI] * len(rows))


def icon_entries(icons: Drawings, rows: list[int]) -> Entries:
    """Icons in the form of entries."""
    captions = [icons.columns["caption"][row] for row in rows]
    entities = [(ICON, caption) for caption in captions]
    return Entries(icons.image_embeds[rows], captions, entities, [ICON] * len(rows))


def joined(*parts: Entries) -> Entries:
    """The entries of all parts, in their order."""
    lists = (
        [value for part in parts for value in getattr(part, name)] for name in ("captions", "entities", "sources")
    )
    return Entries(torch.cat([part.image_embeds for part in parts]), *lists)


def to_memory(embeds: StudyEmbeds, entries: Entries) -> RecoMemory:
    """A memory of entries; ids are their numbers."""
    texts = embeds.texts(entries.captions)
    return RecoMemory(entries.image_embeds, texts, captions=entries.captions, fingerprint=embeds.fingerprint)


def part_of_memory(task: Task, rows: torch.Tensor) -> RecoMemory:
    """A memory of some of the task's entries, by row numbers or a mask."""
    images, texts = task.memory.image_embeds, task.memory.text_embeds
    chosen = torch.arange(len(task.memory))[rows]
    captions = [task.entries.captions[row] for row in chosen.tolist()]
    fingerprint = task.memory.fingerprint
    return RecoMemory(images[chosen], texts[chosen], task.memory.ids[chosen], captions, fingerprint)


def without_entities(task: Task, queries: torch.Tensor) -> RecoMemory:
    """The memory without any entry that shows what one of these queries, (n,) bool, asks for."""
    asked = {entity for entity, choice in zip(task.entities, queries.tolist(), strict=True) if choice}
    return part_of_memory(task, torch.tensor([entity not in asked for entity in task.entries.entities]))


def with_wrong_captions(task: Task, share: float) -> RecoMemory:
    """The memory with a share of each source's captions dealt out again among themselves, none to its own entity."""
    generator, sources = torch.Generator().manual_seed(task.seed), torch.tensor(task.entries.sources)
    captions_from = torch.arange(len(sources))
    for source in (FLAG, EMOJI, ICON):
        rows = (sources == source).nonzero().flatten()
        wrong = rows[torch.randperm(len(rows), generator=generator)[: round(share * len(rows))]]
        # Sorted by entity and shifted by the largest entity's size, no entry gets a caption of its own.
        wrong = torch.tensor(sorted(wrong.tolist(), key=task.entries.entities.__getitem__), dtype=torch.int64)
        largest = max(Counter(task.entries.entities[row] for row in wrong.tolist()).values(), default=0)
        captions_from[wrong] = wrong.roll(largest)
    captions = [task.entries.captions[row] for row in captions_from.tolist()]
    texts = task.memory.text_embeds[captions_from]
    return RecoMemory(task.memory.image_embeds, texts, task.memory.ids, captions, task.memory.fingerprint)


def _may_train_flag(flags: Drawings, row: int) -> bool:
    return flags.columns["half"][row] == "selection" and not flags.columns["ambiguous"][row]


def _may_train_emoji(emoji: Drawings, row: int) -> bool:
    """Not what Noto's figures are reported on, even in another style."""
    reported = emoji.columns["subgroup"][row] in FINE_SUBGROUPS
    return not reported or in_selection_half(emoji.columns["concept"][row])


def _flag_queries(embeds: StudyEmbeds, style: str) -> dict:
    columns = embeds.flags.columns
    family, ambiguous = columns["family"], columns["ambiguous"]
    rows = [row for row in range(len(family)) if family[row] == style and not ambiguous[row]]
    groups = [min(codes) for codes in columns["same_flag_codes"]]
    classes = {code: row for row, code in reversed(list(enumerate(columns["code"])))}
    codes, numbers = sorted(classes), {group: number for number, group in enumerate(sorted(set(groups)))}
    return {
        "image_embeds": embeds.flags.image_embeds[rows],
        "labels": torch.tensor([numbers[groups[row]] for row in rows]),
        "selection": torch.tensor([columns["half"][row] == "selection" for row in rows]),
        "entities": [(FLAG, groups[row]) for row in rows],
        "parts": [style] * len(rows),
        "class_embeds": embeds.texts([columns["label"][classes[code]] for code in codes]),
        "class_names": [columns["name"][classes[code]] for code in codes],
        "class_groups": torch.tensor([numbers[groups[classes[code]]] for code in codes]),
    }


def _noto_queries(embeds: StudyEmbeds) -> dict:
    """Noto's fine-grained groups; the candidates are the labels of all emoji."""
    labels = {}
    for drawings in embeds.emoji.values():
        labels.update(zip(drawings.columns["concept"], drawings.columns["label"], strict=True))
    concepts = sorted(labels)
    numbers = {concept: number for number, concept in enumerate(concepts)}
    found = [
        (split, row, embeds.emoji[split].columns["concept"][row])
        for split in ("selection", "test_seen")
        for row, subgroup in enumerate(embeds.emoji[split].columns["subgroup"])
        if subgroup in FINE_SUBGROUPS
    ]
    return {
        "image_embeds": torch.stack([embeds.emoji[split].image_embeds[row] for split, row, _ in found]),
        "labels": torch.tensor([numbers[concept] for _, _, concept in found]),
        "selection": torch.tensor([split == "selection" for split, _, _ in found]),
        "entities": [(EMOJI, concept) for _, _, concept in found],
        "parts": [embeds.emoji[split].columns["subgroup"][row] for split, row, _ in found],
        "class_embeds": embeds.texts([labels[concept] for concept in concepts]),
        "class_names": [labels[concept] for concept in concepts],
        "class_groups": torch.arange(len(concepts)),
    }
