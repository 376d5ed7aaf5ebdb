# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The concepts of the emoji corpus: what each is called, where it belongs, and which drawing of a family shows it."""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

# A tag that more concepts share ("face", "animal") is no caption: it would be as true of many other pictures.
# Three, because a person, a man and a woman doing one thing always share their tags.
MAX_CONCEPTS_OF_A_TAG = 3

_STRAIGHT_QUOTES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"'})


@dataclass(frozen=True)
class EmojiConcept:
    """One emoji without skin tone; `captions` starts with the label, `tags` holds every tag, vague ones too."""

    concept: str
    hexcode: str
    label: str
    tags: tuple[str, ...]
    captions: tuple[str, ...]
    group: str
    subgroup: str


def codepoint_key(hexcode: str) -> str:
    """A hexcode in one spelling: lower case, without the variation selector FE0F that packages write or leave out."""
    return "-".join(part for part in hexcode.lower().split("-") if part != "fe0f")


def emoji_concepts(
    emojis: Collection[Mapping[str, Any]],
    names: Mapping[str, Mapping[str, str]],
    drawn: Collection[Collection[str]],
    withheld_groups: Collection[str],
) -> list[EmojiConcept]:
    """The concepts that every complete family draws, in Unicode's order.

    Args:
        emojis: emojibase's `en/data.json`; skin tones are inside its entries and so stay out.
        names: emojibase's `meta/groups.json`: the names of `groups` and `subgroups` by number.
        drawn: for each complete family, the codepoint keys it draws.
        withheld_groups: groups left out altogether.

    Raises:
        ValueError: two emoji would get one concept id.
    """
    kept = []
    for emoji in sorted((emoji for emoji in emojis if "group" in emoji), key=lambda emoji: emoji["order"]):
        group = names["groups"][str(emoji["group"])]
        if group not in withheld_groups and all(codepoint_key(emoji["hexcode"]) in family for family in drawn):
            kept.append((emoji, plain_text(emoji["label"]), [plain_text(tag) for tag in emoji.get("tags", ())], group))
    labels = Counter(label.lower() for _, label, _, _ in kept)
    tag_counts = Counter(tag.lower() for _, _, tags, _ in kept for tag in set(tags))
    concepts = []
    for emoji, label, tags, group in kept:
        # A tag that is another emoji's name belongs to that one.
        own = [tag for tag in tags if tag_counts[tag.lower()] <= MAX_CONCEPTS_OF_A_TAG and tag.lower() not in labels]
        concepts.append(
            EmojiConcept(
                concept=re.sub(r"[^\w#*!]+", "-", label.lower()).strip("-"),
                hexcode=emoji["hexcode"],
                label=label,
                tags=tuple(dict.fromkeys(tags)),
                captions=tuple(dict.fromkeys([label, *own])),
                group=group,
                subgroup=names["subgroups"][str(emoji["subgroup"])],
            )
        )
    repeated = [name for name, count in Counter(concept.concept for concept in concepts).items() if count > 1]
    if repeated:
        raise ValueError(f"These concept ids stand for several emoji: {repeated}")
    return concepts


def icons_by_codepoint(chars: Mapping[str, str]) -> dict[str, str]:
    """Codepoint key -> icon name, from a package's `chars.json`."""
    return {codepoint_key(hexcode): name for hexcode, name in chars.items()}


def icons_by_name(
    icon_names: Collection[str], concepts: Collection[EmojiConcept], unicode_names: Mapping[str, str]
) -> dict[str, str]:
    """Codepoint key -> icon name for a package without `chars.json`, by the label or the official Unicode name.

    Only whole names count, letters and digits compared: a part of a name ("bow") is too often another thing. Where a
    package draws both `cat` and `catside`, as Firefox OS does, the first is Unicode's cat face, the second its cat.
    """
    squashed = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in icon_names}
    for side in [name for name in squashed if name.endswith("side")]:
        animal = side.removesuffix("side")
        if animal in squashed:
            squashed[f"{animal}face"], squashed[animal] = squashed[animal], squashed[side]
    official = {codepoint_key(hexcode): name for hexcode, name in unicode_names.items()}
    found = {}
    for concept in concepts:
        key = codepoint_key(concept.hexcode)
        for name in (concept.label, official.get(key, "")):
            icon = squashed.get(re.sub(r"[^a-z0-9]", "", name.lower()))
            if icon is not None:
                found.setdefault(key, icon)
    return found


def plain_text(text: str) -> str:
    """A name with straight quotes and single spaces: tokenizers know these better, and users type them."""
    return " ".join(text.translate(_STRAIGHT_QUOTES).split())
