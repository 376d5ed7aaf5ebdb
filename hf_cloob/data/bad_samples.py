# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a pair, by cause: skipped and counted, never an end of a run unless there are too many."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

MAX_CAPTION_CHARACTERS = 10_000
# Below this many pairs a fraction says nothing: one bad pair among the first eight is not a dirty corpus.
FEWEST_SEEN = 1000
MOST_IN_A_ROW = 2000


class BadSample(ValueError):
    """A pair, or a whole shard, that cannot be used.

    Args:
        cause: a few words, the same for all samples with that defect; they are counted by it.
        place: where it is, for a message: "shard.tar/000123".
    """

    def __init__(self, cause: str, place: str = ""):
        super().__init__(cause, place)
        self.cause = cause
        self.place = place


class Patience:
    """Ends what finds nothing but bad samples: a wrong column must not read terabytes before anyone learns of it.

    Args:
        name: what is read.
    """

    def __init__(self, name: str):
        self.name, self.in_a_row = name, 0

    def see(self, bad: BadSample | None) -> None:
        """Take note of a good sample (None) or of a bad one.

        Raises:
            ValueError: the last `MOST_IN_A_ROW` samples were bad.
        """
        self.in_a_row = 0 if bad is None else self.in_a_row + 1
        if bad is not None and self.in_a_row >= MOST_IN_A_ROW:
            raise ValueError(
                f"{self.in_a_row} pairs of {self.name} in a row cannot be used, the last: {bad.cause} ({bad.place})"
            )


class Tally:
    """Bad samples by cause, and where the first of each cause was."""

    def __init__(self):
        self.counts: Counter = Counter()
        self.places: dict[str, str] = {}

    def add(self, bad: BadSample) -> None:
        self.counts[bad.cause] += 1
        self.places.setdefault(bad.cause, bad.place)

    def take(self) -> tuple[dict[str, int], dict[str, str]]:
        """Counts and places since the last call."""
        taken = dict(self.counts), self.places
        self.counts, self.places = Counter(), {}
        return taken


def usable_captions(values: Iterable[str | bytes | None]) -> list[str]:
    """Captions with whitespace collapsed, without repetitions; those that cannot be used are left out.

    Args:
        values: as they were read. Bytes must be UTF-8; U+FFFD in a string is what a reader put in place of bytes that
            were not.

    Raises:
        BadSample: no caption is left; the cause is the first one's.
    """
    kept, causes = {}, []
    for value in values:
        caption, cause = _usable(value)
        if cause is None:
            kept[caption] = None
        else:
            causes.append(cause)
    if not kept:
        raise BadSample(causes[0] if causes else "missing caption")
    return list(kept)


def flat_name(cause: str) -> str:
    """The name of a cause's count in logs and metrics: "skipped_zero_byte_image"."""
    return "skipped_" + re.sub("[^a-z0-9]+", "_", cause.lower())


def check_bad_fraction(num_good: int, bad: Mapping[str, int], places: Mapping[str, str], max_fraction: float) -> None:
    """Stop a run whose data is worse than the user allowed for.

    Args:
        num_good, bad: pairs used so far, and pairs skipped by cause, of all processes.
        places: where the first of each cause was, as far as it is known.
        max_fraction: largest share of bad pairs. Up to `FEWEST_SEEN` pairs it is a share of that many.

    Raises:
        ValueError: more pairs are bad; names how many, the causes and the places.
    """
    num_bad = sum(bad.values())
    num_seen = num_good + num_bad
    if num_bad <= max_fraction * max(num_seen, FEWEST_SEEN):
        return
    causes = []
    for cause, count in sorted(bad.items(), key=lambda item: (-item[1], item[0])):
        causes.append(f"{cause} {count}" + (f" (first: {places[cause]})" if places.get(cause) else ""))
    raise ValueError(
        f"{num_bad} of the {num_seen} pairs read so far cannot be used, more than max_bad_fraction {max_fraction}: "
        f"{', '.join(causes)}. Mend the data, or allow for more."
    )


def _usable(value: str | bytes | None) -> tuple[str, str | None]:
    """A caption, and why it is none."""
    if value is None:
        return "", "missing caption"
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    # Before anything else is done with it: a caption of a gigabyte must not cost more than its length.
    if len(value) > MAX_CAPTION_CHARACTERS:
        return "", "enormous caption"
    if "\ufffd" in value:
        return "", "caption not UTF-8"
    # A byte order mark is no part of the first caption of a file.
    caption = " ".join(value.removeprefix("\ufeff").replace("\0", " ").split())
    return caption, None if caption else "empty caption"
