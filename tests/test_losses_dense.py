# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The dense definitions against the papers' formulas as slow loops."""

import pytest
import reference
import torch
from torch.nn.functional import normalize

from hf_cloob import losses_dense

T, BETA = 14.3, 8.0
PAIRS = {
    "info_nce": (losses_dense.info_nce_loss, reference.info_nce, (T, 0.1)),
    "info_loob": (losses_dense.info_loob_loss, reference.info_loob, (T,)),
    "clip": (losses_dense.clip_loss, reference.clip, (T, 0.1)),
    "clip_retrieved": (losses_dense.clip_loss, reference.clip, (T, 0.0, BETA)),
    "cloob": (losses_dense.cloob_loss, reference.cloob, (T, BETA)),
    "loob_without_retrieval": (losses_dense.cloob_loss, reference.cloob, (T, None)),
    "sigmoid": (losses_dense.sigmoid_loss, reference.sigmoid, (T, -10.0)),
    "cross_modal_uniformity": (losses_dense.cross_modal_uniformity_loss, reference.cross_modal_uniformity, ()),
    "uniformity": (
        lambda x, y: losses_dense.uniformity_loss(x),
        lambda x, y: reference.uniformity(x),
        (),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_the_dense_form_equals_the_loops(name):
    dense, loops, arguments = PAIRS[name]
    x, y = normalize(torch.randn(2, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), dim=-1)
    expected = loops(reference.rows(x), reference.rows(y), *arguments)
    torch.testing.assert_close(dense(x, y, *arguments), expected, rtol=1e-12, atol=1e-12)
