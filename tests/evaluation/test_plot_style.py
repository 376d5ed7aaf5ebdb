# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What all figures share."""

import pytest
from PIL import Image

from hf_cloob.evaluation.plot_style import STYLE, new_figure, percent, plot_style, save_png


def test_a_figure_has_its_size_in_inches_times_the_dots_per_inch_and_its_folder_is_made(tmp_path):
    with plot_style():
        path = save_png(new_figure(3, 2), tmp_path / "new" / "page.png")
    dots = STYLE["savefig.dpi"]
    with Image.open(path) as page:
        assert page.size == (3 * dots, 2 * dots)


def test_the_style_ends_with_its_block():
    import matplotlib

    before = matplotlib.rcParams["axes.spines.top"]
    with plot_style():
        assert matplotlib.rcParams["axes.spines.top"] is False
    assert matplotlib.rcParams["axes.spines.top"] == before


@pytest.mark.parametrize(("share", "text"), [(0.004, "0.4 %"), (0.0994, "9.9 %"), (0.1, "10 %"), (1.0, "100 %")])
def test_small_shares_keep_a_decimal(share, text):
    assert percent(share) == text
