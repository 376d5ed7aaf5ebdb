# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""benchmark_training_step.py with tiny towers: every case runs, and both models embed alike."""

import json
import sys

import benchmark_training_step
import pytest

SMALL = ["--size", "tiny", "--rounds", "2", "--batch_size", "12"]


def run(monkeypatch, *flags: str) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark_training_step.py", *SMALL, *flags])
    benchmark_training_step.main()


def test_both_models_embed_alike_and_every_ratio_is_of_the_written_seconds(monkeypatch, tmp_path):
    run(monkeypatch, "--output_dir", str(tmp_path), "--profile", "true")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["largest_embedding_difference"] < 1e-5
    for ratio, clip, cloob in (
        ("full_length_speedup", "clip_full", "cloob_full"),
        ("real_captions_speedup", "clip_padded_to_context", "cloob_collated"),
        ("real_captions_speedup_over_longest", "clip_padded_to_longest", "cloob_collated"),
    ):
        assert metrics[ratio] == pytest.approx(metrics[f"{clip}_seconds"] / metrics[f"{cloob}_seconds"])
    assert 5 < metrics["mean_caption_tokens"] < metrics["longest_caption_tokens"] < metrics["context_length"]
    assert "aten::addmm" in (tmp_path / "profile_clip_full.txt").read_text()


def test_captions_of_a_file_take_the_emojis_place(monkeypatch, tmp_path):
    captions = tmp_path / "captions.txt"
    captions.write_text("\n\n".join("ab " * number for number in range(1, 13)))
    run(monkeypatch, "--output_dir", str(tmp_path / "out"), "--captions_file", str(captions))
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    # A start and an end token around 1 … 12 words.
    assert (metrics["mean_caption_tokens"], metrics["longest_caption_tokens"]) == (8.5, 14)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--size", "huge"], "size must be base or tiny, got 'huge'"),
        (["--batch_size", "1"], "batch_size must be at least 2, got 1"),
        (["--captions_file", "nowhere.txt"], "captions_file nowhere.txt cannot be read"),
        (["--batch_size", "100000"], "batch_size 100000 needs as many captions, there are"),
    ],
)
def test_a_mistake_is_named(monkeypatch, flags, message):
    with pytest.raises(SystemExit, match=message):
        run(monkeypatch, *flags)
