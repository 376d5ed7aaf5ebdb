# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The pictures of a run, as PNG: `contact_sheet` of predictions and `training_curves`."""

from .contact_sheet import contact_sheet
from .training_curves import training_curves

__all__ = ["contact_sheet", "training_curves"]
