# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Weights and combinations of auxiliary losses: the papers' constants, and one message for each mistake."""

import pytest

from hf_cloob.training.auxiliary_settings import AUXILIARY_WEIGHTS, AuxiliarySettings


def test_weights_and_constants_are_the_papers():
    assert AUXILIARY_WEIGHTS == {"slip": 1.0, "barlip": 1.0, "siamlip": 1.0, "byolip": 1.0, "swalip": 0.2}
    settings = AuxiliarySettings(strong_pairs=True)
    assert (settings.num_strong_views, settings.strong_label_smoothing, settings.ema_momentum) == (2, 0.1, 0.99)
    assert settings.strong_inverse_temperature == 1 / 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "strong_pairs or an auxiliary_loss must use the strong views, got neither"),
        ({"auxiliary_loss": "simsiam"}, "must be one of none, slip, barlip, .* got 'simsiam'"),
        ({"strong_pairs": True, "num_strong_views": 0}, "need strong views, got num_strong_views=0"),
        ({"auxiliary_loss": "slip", "num_strong_views": 3}, "'slip' takes 2 strong views, got num_strong_views=3"),
        ({"auxiliary_loss": "barlip", "auxiliary_weight": 0.0}, "finite number above 0, got 0.0"),
        ({"strong_pairs": True, "strong_label_smoothing": 1.0}, r"must be in \[0, 1\), got 1.0"),
        ({"strong_pairs": True, "auxiliary_loss": "swalip"}, "with it strong_label_smoothing must be 0, got 0.1"),
        ({"strong_pairs": True, "strong_inverse_temperature": 0.1}, r"must be in \[1, 100\], got 0.1"),
        ({"strong_pairs": True, "strong_text_dropout": 1.0}, r"strong_text_dropout must be in \[0, 1\), got 1.0"),
        ({"auxiliary_loss": "slip", "strong_text_dropout": 0.1}, "auxiliary_loss='slip' does not use"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        AuxiliarySettings(**changes)


def test_swalip_goes_with_strong_pairs_without_smoothing():
    settings = AuxiliarySettings(strong_pairs=True, auxiliary_loss="swalip", strong_label_smoothing=0.0)
    assert settings.uses_strong_head and settings.uses_strong_texts
