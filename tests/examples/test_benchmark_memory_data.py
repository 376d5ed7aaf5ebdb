# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Embeddings of benchmark_memory.py: real ones first, copies near them, queries that are not among them."""

import torch
from benchmark_memory import BenchmarkArguments
from benchmark_memory_data import COPY_COSINES, embed_icons, with_copies
from tiny_reco import save_base, unit_rows


def test_copies_are_as_near_to_their_icons_as_they_are_said_to_be():
    embeds = unit_rows(100, 64)
    rows = with_copies(embeds, 1000, seed=3)
    assert rows.dtype == torch.float16 and torch.equal(rows[:100], embeds.half())
    cosines = (rows[100:].float() * embeds.repeat(9, 1)).sum(dim=1)
    assert COPY_COSINES[0] - 1e-3 < cosines.min() < COPY_COSINES[0] + 0.01
    assert COPY_COSINES[1] - 0.01 < cosines.max() < COPY_COSINES[1] + 1e-3
    torch.testing.assert_close(rows.float().norm(dim=1), torch.ones(1000), rtol=0, atol=1e-3)
    assert torch.equal(rows, with_copies(embeds, 1000, seed=3))
    assert not torch.equal(rows[100:], with_copies(embeds, 1000, seed=4)[100:])


def test_several_encoders_make_one_embedding_and_queries_are_held_out(tmp_path):
    checkpoints = [str(save_base("cloob", tmp_path / str(seed), seed)) for seed in (0, 1)]
    both, first = (
        embed_icons(BenchmarkArguments(paths, num_queries=30, icon_collections=["maki"]))
        for paths in (checkpoints, checkpoints[:1])
    )
    assert both.images.shape == both.texts.shape == (len(first.images), 32) and both.queries.shape == (30, 32)
    torch.testing.assert_close(both.images[:, :16] * 2**0.5, first.images)
    assert len(torch.cat([both.images, both.queries]).unique(dim=0)) == len(both.images) + 30
