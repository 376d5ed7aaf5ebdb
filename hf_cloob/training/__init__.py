# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Training: objective and auxiliary heads, parameter groups and schedules, checkpoints, logs, frozen towers."""
