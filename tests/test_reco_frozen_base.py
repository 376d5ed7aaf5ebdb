# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Freezing a SigLIP changes its last bits, unless it computes as before."""

import pytest
import torch
from tiny_reco import inputs_of, tiny_base

from hf_cloob.reco_frozen_base import last_bits_of_unfrozen


def test_a_frozen_siglip_computes_what_it_computed_before():
    base, inputs = tiny_base("siglip"), inputs_of("siglip")
    expected = base(**inputs).logits_per_image
    base.requires_grad_(False)
    with last_bits_of_unfrozen(base):
        found = base(**inputs).logits_per_image
    assert torch.equal(found, expected)
    assert not found.requires_grad and not any(parameter.requires_grad for parameter in base.parameters())


def test_it_is_frozen_again_after_an_error():
    base = tiny_base("siglip").requires_grad_(False)
    with pytest.raises(KeyError), last_bits_of_unfrozen(base):
        raise KeyError
    assert torch.is_grad_enabled() and not any(parameter.requires_grad for parameter in base.parameters())


def test_a_base_without_such_a_layer_is_left_alone():
    base, inputs = tiny_base("clip").requires_grad_(False), inputs_of("clip")
    inputs["pixel_values"].requires_grad_()
    with last_bits_of_unfrozen(base):
        assert base(**inputs).logits_per_image.requires_grad
