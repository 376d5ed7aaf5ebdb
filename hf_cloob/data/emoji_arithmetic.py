# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Multi-modal arithmetic on emoji: quadruples (image, words, other words, image) whose truth is known without a judge.

    "man farmer" − "man" + "woman" = "woman farmer"

The task is SIMAT's (Couairon et al. 2022, arXiv 2112.03162): the words name what changes, not the whole picture. Two
concepts make a quadruple when their names differ in one place only, so the answer is known by rule: emojibase's
labels, the codepoints of emoji sequences (man, woman, facing right) and Unicode's own names (cats' faces). The
committed table `emoji_arithmetic.csv` is what the rules below give, and a test builds it again:
`write_quadruples(build_quadruples(corpus_concepts(load_emoji())))`. Its words are emojibase's (MIT).

The corpus has no skin tones, and neither has the table.
"""

import csv
import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING

from .emoji_concepts import EmojiConcept, codepoint_key
from .emoji_protocol import WITHHELD_SUBGROUPS

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

TABLE = Path(__file__).parent / "emoji_arithmetic.csv"
# Of what can stand in the place of a source's words, so many are kept: twenty professions for one farmer say little
# more than six.
MAX_TARGETS = 6

COLORS = "light blue|red|pink|orange|yellow|green|blue|purple|brown|black|grey|white"
DIRECTIONS = "up-right|up-left|down-right|down-left|up-down|left-right|up|down|left|right"
HOURS = "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
PHASES = "new|full|(?:first|last) quarter|wa(?:x|n)ing (?:crescent|gibbous)"
# Kind -> patterns of labels. The group is what changes; labels that are equal without it name the same thing.
CHANGED_WORDS: dict[str, tuple[str, ...]] = {
    "gender": (r"^(man|woman) dancing$", r"\bpregnant (man|woman|person)$", r"^old (man|woman)$"),
    "looks": (r"^(?:man|woman|person): (.+ hair|bald|beard)$",),
    "color": (rf"\b({COLORS})\b(?! hair)",),
    "shape": (rf"^(?:{COLORS}) (heart|circle|square)$", r"^(heart|spade|diamond|club) suit$"),
    "size": (r"\b(medium-small|medium|small|large) (?:square|orange diamond|blue diamond)$",),
    "direction": (
        rf"^({DIRECTIONS}) arrow$",
        r"^(?:backhand )?index pointing (up|down|left)$",
        r"\bcurving (up|down|left|right)$",
        r"^(left|right)(?:wards|-facing)\b",
        r"^(up|down)wards button$",
        r"^fast (up|down) button$",
        r"^(?:thumbs|palm) (up|down)\b",
        r"\b(?:tilted|pointed) (left|right|up|down)$",
    ),
    "clock": (rf"^({HOURS})(?: o'clock|-thirty)$", rf"^(?:{HOURS}).(o'clock|thirty)$"),
    "moon": (rf"^({PHASES}) moon(?: face)?$",),
    "inscription": (
        r"^keycap: (.+)$",
        r'^Japanese "(.+)" button$',
        r"^([A-Z!]+) button$",
        r"^([A-Z!]+) arrow$",
        r"^(A|B|AB|O) button \(blood type\)$",
        r"^(yen|dollar|euro|pound) banknote$",
        r"^(1st|2nd|3rd) place medal$",
    ),
    "state": (
        r"^(open|closed) mailbox\b",
        r"^(?:open|closed) mailbox with (raised|lowered) flag$",
        r"^cloud with (rain|snow|lightning|lightning and rain)$",
        r"^sun behind (small|large|rain) cloud$",
        r"^speaker (low|medium|high) volume$",
        r"^((?:un)?locked)$",
        r"^airplane (departure|arrival)$",
        r"^chart (increasing|decreasing)$",
        r"^hourglass (done|not done)$",
        r"^(dim|bright) button$",
        r"^(horizontal|vertical) traffic light$",
        r"^(see|hear|speak)-no-evil monkey$",
    ),
}
AGES = {
    "child": ("child", "boy", "girl"),
    "adult": ("person", "man", "woman"),
    "old": ("older person", "old man", "old woman"),
}
# Subgroups of people who do one thing each: what they do is exchanged within a subgroup, for the same gender.
ACTIVITY_SUBGROUPS = ("person-gesture", "person-role", "person-fantasy", "person-activity", "person-sport")
PERSON, MAN, WOMAN, MALE, FEMALE, RIGHTWARDS = "1f9d1", "1f468", "1f469", "2642", "2640", "27a1"
PERSON_WORDS = re.compile(r"\b(?:person|people|man|men|woman|women)\b")


@dataclass(frozen=True)
class Quadruple:
    """One question of the table: `source` − `source_words` + `target_words` = `target`, concepts of the corpus.

    `unseen` says that one of the concepts, or both, is withheld from training.
    """

    kind: str
    source: str
    source_words: str
    target_words: str
    target: str
    unseen: bool


def load_quadruples() -> list[Quadruple]:
    """Reads the committed table, kind by kind, sources in Unicode's order."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return [Quadruple(**row | {"unseen": row["unseen"] == "yes"}) for row in csv.DictReader(file)]


def write_quadruples(quadruples: Iterable[Quadruple], path: str | Path = TABLE) -> None:
    """Writes a table: UTF-8, a header, LF line ends."""
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(Quadruple)])
        for quadruple in quadruples:
            writer.writerow([*astuple(quadruple)[:-1], "yes" if quadruple.unseen else "no"])


def quadruples_of_family(emoji: "DatasetDict", family: str) -> tuple["Dataset", list[Quadruple]]:
    """All pictures of one family, of whatever split, and the quadruples of which it draws both concepts.

    Raises:
        ValueError: a family that the corpus does not have.
    """
    import datasets

    families = sorted({name for split in emoji.values() for name in split.unique("family")})
    if family not in families:
        raise ValueError(f"family must be one of {', '.join(families)}; got {family!r}.")
    parts = []
    for split in emoji.values():
        rows = [row for row, name in enumerate(split["family"]) if name == family]
        parts += [split.select(rows)] if rows else []
    pictures = datasets.concatenate_datasets(parts)
    drawn = set(pictures["concept"])
    return pictures, [item for item in load_quadruples() if item.source in drawn and item.target in drawn]


def corpus_concepts(emoji: "DatasetDict") -> list[EmojiConcept]:
    """The concepts that at least one family draws, in Unicode's order."""
    names = [field.name for field in fields(EmojiConcept)]
    rows = {row["concept"]: row for split in emoji.values() for row in split.select_columns([*names, "order"])}
    ordered = sorted(rows.values(), key=lambda row: row["order"])
    texts = ("tags", "captions")
    return [
        EmojiConcept(**{name: tuple(row[name]) if name in texts else row[name] for name in names}) for row in ordered
    ]


def build_quadruples(concepts: Sequence[EmojiConcept]) -> list[Quadruple]:
    """Builds the table: every ordered pair of concepts that differ in one known place, by kind.

    For each source and its words, MAX_TARGETS are kept, chosen by a hash of both concepts.

    Args:
        concepts: of the corpus, in Unicode's order.
    """
    found: dict[tuple[str, str, str], Quadruple] = {}
    withheld = {concept.concept for concept in concepts if concept.subgroup in WITHHELD_SUBGROUPS}
    order = {concept.concept: place for place, concept in enumerate(concepts)}
    for kind, variants in _variants(concepts):
        for (source, source_words), (target, target_words) in permutations(variants, 2):
            if source != target and source_words != target_words:
                unseen = source in withheld or target in withheld
                item = Quadruple(kind, source, source_words, target_words, target, unseen)
                found.setdefault((kind, source, target), item)
    by_source = defaultdict(list)
    for item in found.values():
        by_source[item.kind, item.source, item.source_words].append(item)
    kept = [item for items in by_source.values() for item in sorted(items, key=_draw)[:MAX_TARGETS]]
    return sorted(kept, key=lambda item: (item.kind, order[item.source], order[item.target]))


def _draw(item: Quadruple) -> bytes:
    return hashlib.sha256(f"{item.kind}:{item.source}:{item.target}".encode()).digest()


# A concept and the words that name it among the variants of one thing.
Variant = tuple[str, str]


def _variants(concepts: Sequence[EmojiConcept]) -> Iterator[tuple[str, list[Variant]]]:
    """Kind, and concepts of which each is the other with one thing changed."""
    by_label = {concept.label: concept.concept for concept in concepts}
    for kind, patterns in CHANGED_WORDS.items():
        for variants in _by_label(concepts, patterns):
            yield kind, variants
    yield from _people(concepts)
    for place in range(len(AGES["adult"])):
        labels = {age: own[place] for age, own in AGES.items()}
        yield "looks", [(by_label[label], age) for age, label in labels.items() if label in by_label]
    for label, concept in by_label.items():
        whole = label.removesuffix(" face")
        if whole != label and whole in by_label:
            word = "moon" if whole.endswith("moon") else "animal"
            yield "face_of", [(by_label[whole], word), (concept, f"{word} face")]
    yield from _cats(concepts)


def _by_label(concepts: Sequence[EmojiConcept], patterns: Sequence[str]) -> list[list[Variant]]:
    things = defaultdict(list)
    for place, pattern in enumerate(patterns):
        for concept in concepts:
            for match in re.finditer(pattern, concept.label):
                thing = f"{concept.label[: match.start(1)]}…{concept.label[match.end(1) :]}"
                # "one o'clock" and "one-thirty" name one hour.
                things[place, thing.replace("-", " ")].append((concept.concept, match[1]))
    return list(things.values())


def _people(concepts: Sequence[EmojiConcept]) -> Iterator[tuple[str, list[Variant]]]:
    """Gender, what a person does, and where they face, by the codepoints of the sequences."""
    people = {codepoint_key(concept.hexcode): concept for concept in concepts if concept.group == "people-body"}
    parted = {key: _part(key) for key in people}
    genders = defaultdict(dict)
    for key, (thing, gender) in parted.items():
        genders[thing][gender] = people[key]
    # Without a man or a woman the "person" is a hand, a foot or a ninja.
    genders = {thing: own for thing, own in genders.items() if "person" in own and len(own) > 1}
    for own in genders.values():
        yield "gender", [(concept.concept, _person_word(concept.label, gender)) for gender, concept in own.items()]
    for subgroup in ACTIVITY_SUBGROUPS:
        for gender in ("person", "man", "woman"):
            alike = [own for own in genders.values() if own["person"].subgroup == subgroup and gender in own]
            yield "activity", [(own[gender].concept, _activity(own["person"].label)) for own in alike]
    for key, concept in people.items():
        start = key.removesuffix(f"-200d-{RIGHTWARDS}")
        if start != key and start in people:
            # Unicode's people without the arrow face left.
            yield "facing", [(people[start].concept, "facing left"), (concept.concept, "facing right")]


def _part(key: str) -> tuple[str, str]:
    """A sequence of codepoints without its gender, and the gender."""
    points = key.split("-")
    if points[0] in (MAN, WOMAN):
        return "-".join([PERSON, *points[1:]]), "man" if points[0] == MAN else "woman"
    for sign, gender in ((MALE, "man"), (FEMALE, "woman")):
        if sign in points[1:]:
            return key.replace(f"-200d-{sign}", ""), gender
    return key, "person"


def _person_word(label: str, gender: str) -> str:
    match = PERSON_WORDS.search(label)
    return match[0] if match else gender


def _activity(label: str) -> str:
    return " ".join(PERSON_WORDS.sub("", label).split()).removeprefix(": ")


def _cats(concepts: Sequence[EmojiConcept]) -> Iterator[tuple[str, list[Variant]]]:
    """Cats' faces and the faces of Unicode's names without CAT: another expression, or another face."""
    by_name = {unicodedata.name(chr(int(code, 16)), ""): concept for concept in concepts if (code := _code(concept))}
    cats = {name: concept for name, concept in by_name.items() if concept.subgroup == "cat-face"}
    pairs = [(cat, by_name[plain]) for name, cat in cats.items() if (plain := name.replace("CAT ", "")) in by_name]
    yield "expression", [(cat.concept, _without(cat.label, "cat")) for cat in cats.values()]
    yield "expression", [(face.concept, _without(face.label, "face")) for _, face in pairs]
    for cat, face in pairs:
        yield "face_of", [(cat.concept, "cat"), (face.concept, "face")]


def _code(concept: EmojiConcept) -> str:
    key = codepoint_key(concept.hexcode)
    return "" if "-" in key else key


def _without(label: str, word: str) -> str:
    return " ".join(part for part in label.split() if part != word)
