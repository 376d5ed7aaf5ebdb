# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The dry run of a corpus prints and writes what was planted in it."""

import json

from dirty_corpus import damaged_tars, expected, plan, write_tars

from hf_cloob.data.bad_samples import flat_name


def test_a_corpus_is_read_once_and_its_bad_pairs_are_printed_by_cause(command, tmp_path):
    pairs = plan(seed=2, each=1, good=20)
    num_good, causes = expected(pairs)
    write_tars(pairs, tmp_path, 3)
    _, more, more_causes = damaged_tars([pair for pair in pairs if pair.kind == "plain"][:6], tmp_path)
    result = command("check_data.py", "--train_files", tmp_path / "*.tar", "--output_dir", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    counted = {name: value for name, value in metrics.items() if name.startswith("skipped_")}
    assert counted == {flat_name(cause): count for cause, count in (causes + more_causes).items()}
    assert (metrics["num_good"], metrics["num_shards"]) == (num_good + more, 11)
    assert metrics["num_bad"] == sum(counted.values())
    assert metrics["pairs_per_second"] > 0
    assert "truncated image (first: " in result.stdout and "cut_in_a_caption.tar" in result.stdout


def test_a_pattern_without_files_is_one_line(command):
    result = command("check_data.py", "--train_files", "nowhere/*.tar")
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1] == (
        "check_data.py: train_files 'nowhere/*.tar': there is no file nowhere/*.tar"
    )
