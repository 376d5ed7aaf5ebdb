# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Eigenvalues of a covariance: numpy's, exact for hand-made data, and counted without rounding."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from hf_cloob.evaluation import spectrum
from hf_cloob.evaluation.spectrum import covariance_spectrum, effective_rank, num_eigenvalues


def axes_and_back(rank: int, width: int) -> torch.Tensor:
    """Unit rows along `rank` axes and against them: the mean is 0, the covariance isotropic of that rank."""
    half = torch.eye(width)[:rank]
    return torch.cat([half, -half])


def turned(embeds: torch.Tensor) -> torch.Tensor:
    random = torch.randn(embeds.shape[1], embeds.shape[1], generator=torch.Generator().manual_seed(0))
    return embeds @ torch.linalg.qr(random)[0]


@pytest.mark.parametrize("rank", [1, 5, 20])
def test_isotropic_data_of_rank_r_have_the_effective_rank_r(rank):
    eigenvalues, _, mean = covariance_spectrum(turned(axes_and_back(rank, 20)))
    assert effective_rank(eigenvalues).item() == pytest.approx(rank, abs=1e-6 * rank)
    torch.testing.assert_close(eigenvalues[:rank], torch.full((rank,), 1 / rank).double(), atol=1e-7, rtol=0)
    assert mean.abs().max() < 1e-7


def test_of_ten_equal_eigenvalues_nine_are_ninety_percent():
    eigenvalues = covariance_spectrum(axes_and_back(10, 16))[0]
    assert [num_eigenvalues(eigenvalues, share).item() for share in (0.1, 0.9, 0.901, 0.95, 0.99, 1)] == [
        1,
        9,
        10,
        10,
        10,
        10,
    ]


def test_the_spectrum_is_numpys_whatever_the_blocks(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    embeds = normalize(torch.randn(60, 12, generator=generator) * torch.linspace(1, 0.1, 12) + 0.2, dim=-1)
    covariance = np.cov(embeds.double().numpy(), rowvar=False, bias=True)
    expected = np.linalg.eigvalsh(covariance)[::-1]
    monkeypatch.setattr(spectrum, "ROWS_AT_ONCE", 7)
    eigenvalues, eigenvectors, mean = covariance_spectrum(embeds)
    np.testing.assert_allclose(eigenvalues, expected, atol=1e-12)
    # In its basis the covariance is diagonal.
    coordinates = ((embeds.double() - mean) @ eigenvectors).numpy()
    np.testing.assert_allclose(np.cov(coordinates, rowvar=False, bias=True), np.diag(expected), atol=1e-12)
    shares = expected / expected.sum()
    assert effective_rank(eigenvalues).item() == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), abs=1e-9)
    assert num_eigenvalues(eigenvalues, 0.95).item() == int(np.argmax(np.cumsum(shares) >= 0.95)) + 1


def test_many_spectra_at_once_are_each_their_own():
    eigenvalues = torch.rand(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ranks, counts = effective_rank(eigenvalues), num_eigenvalues(eigenvalues, 0.9)
    for row, values in enumerate(eigenvalues):
        assert ranks[row] == effective_rank(values) and counts[row] == num_eigenvalues(values.flip(0), 0.9)


def test_where_nothing_varies_the_rank_is_zero():
    eigenvalues = covariance_spectrum(torch.eye(4)[[1, 1, 1]])[0]
    assert effective_rank(eigenvalues).item() == 0 and num_eigenvalues(eigenvalues, 0.99).item() == 0


@pytest.mark.parametrize("share", [0, 1.5, -0.1])
def test_an_impossible_share_is_named(share):
    with pytest.raises(ValueError, match=f"got {share}"):
        num_eigenvalues(torch.ones(3), share)
