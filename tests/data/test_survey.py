# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What is planted is what is counted, by cause, in every form of a corpus."""

from collections import Counter

import pytest
from dirty_corpus import (
    Planted,
    damaged_tars,
    expected,
    plan,
    write_folder,
    write_json_lines,
    write_parquet,
    write_table,
    write_tars,
)

from hf_cloob.data.survey import SurveyedShards
from hf_cloob.data.training_files import open_files, open_folder

FORMS = ["tar", "parquet", "folder", "table", "json lines"]


def corpus(form: str, pairs: list[Planted], folder):
    """A corpus in one form as a source, and what must be counted in it."""
    num_good, causes = expected(pairs)
    if form == "tar":
        write_tars(pairs, folder, 7)
        damaged, more, more_causes = damaged_tars([pair for pair in pairs if pair.kind == "plain"][:6], folder / "d")
        for path in damaged:
            path.rename(folder / path.name)
        return open_files(str(folder / "*.tar")), num_good + more, causes + more_causes
    if form == "parquet":
        write_parquet(pairs[::2], folder / "a.parquet")
        write_parquet(pairs[1::2], folder / "b.parquet")
        content = (folder / "a.parquet").read_bytes()
        (folder / "c.parquet").write_bytes(content[: len(content) // 2])
        return open_files(str(folder / "*.parquet")), num_good, causes + Counter({"unreadable shard": 1})
    if form == "folder":
        return open_folder(str(write_folder(pairs, folder / "pictures"))), num_good, causes
    if form == "table":
        # A table has no way to leave a cell out.
        causes["empty caption"] += causes.pop("missing caption")
        return open_files(str(write_table(pairs, folder / "train.csv"))), num_good, causes
    return open_files(str(write_json_lines(pairs, folder / "train.jsonl"))), num_good, causes


def survey(source) -> tuple[int, Counter]:
    shards = SurveyedShards(source)
    found = [shards[number] for number in range(len(shards))]
    for shard in found:
        assert set(shard["skipped_at"]) == set(shard["skipped"])
        assert all(shard["skipped_at"].values())
    return sum(shard["num_good"] for shard in found), sum((Counter(shard["skipped"]) for shard in found), Counter())


@pytest.mark.parametrize("form", FORMS)
def test_the_counts_are_what_was_planted(form, tmp_path):
    source, num_good, causes = corpus(form, plan(seed=0, each=1, good=12), tmp_path)
    assert survey(source) == (num_good, causes)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_the_counts_of_hundreds_of_mutated_samples_are_what_was_planted(form, tmp_path):
    pairs = plan(seed=1, each=16, good=200)
    mutated = [pair for pair in pairs if pair.kind != "plain"]
    assert len(mutated) >= 500 and len({pair.kind for pair in mutated}) >= 25
    source, num_good, causes = corpus(form, pairs, tmp_path)
    assert survey(source) == (num_good, causes)
