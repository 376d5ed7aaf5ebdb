# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The fingerprint tells weights apart and survives what leaves embeddings the same."""

import copy

import pytest
import torch
from tiny_models import tiny_clip, tiny_cloob
from tiny_reco import unit_rows

from hf_cloob import CloobModel, close_gap, encoder_fingerprint, open_gap


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_cast_keeps_the_fingerprint(dtype):
    model = tiny_cloob()
    fingerprint = encoder_fingerprint(model)
    assert encoder_fingerprint(model.to(dtype)) == fingerprint
    assert encoder_fingerprint(model.float()) == fingerprint


def test_a_cast_that_rounds_a_weight_to_zero_keeps_the_fingerprint():
    model = tiny_cloob()
    with torch.no_grad():
        model.text_projection.weight[0, 0] = -1e-12
    fingerprint = encoder_fingerprint(model)
    assert encoder_fingerprint(model.half()) == fingerprint


def test_other_weights_have_another_fingerprint():
    model = tiny_cloob()
    fingerprints = {encoder_fingerprint(model), encoder_fingerprint(tiny_cloob(seed=1))}
    changed = copy.deepcopy(model)
    with torch.no_grad():
        changed.visual_projection.weight[3, 4].neg_()
    fingerprints.add(encoder_fingerprint(changed))
    optimizer = torch.optim.SGD(changed.parameters(), lr=0.1)
    for parameter in changed.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    fingerprints.add(encoder_fingerprint(changed))
    assert len(fingerprints) == 4 and all(len(fingerprint) == 32 for fingerprint in fingerprints)


def test_closing_the_gap_makes_another_encoder():
    model = tiny_cloob()
    fingerprint = encoder_fingerprint(model)
    close_gap(model, unit_rows(4, model.config.projection_dim, 1), unit_rows(4, model.config.projection_dim, 2))
    assert encoder_fingerprint(model) != fingerprint
    open_gap(model)
    assert encoder_fingerprint(model) == fingerprint


def test_a_scale_does_not_count():
    model = tiny_clip()
    fingerprint = encoder_fingerprint(model)
    torch.nn.init.constant_(model.logit_scale, -3.0)
    assert encoder_fingerprint(model) == fingerprint


def test_a_cloob_with_a_clips_weights_has_its_fingerprint(tmp_path):
    clip = tiny_clip()
    clip.save_pretrained(tmp_path)
    assert encoder_fingerprint(CloobModel.from_clip(tmp_path)) == encoder_fingerprint(clip)
