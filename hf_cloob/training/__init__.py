# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Training: parameter groups and schedules, checkpoints, logs, frozen towers."""
