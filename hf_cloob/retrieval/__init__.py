# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Memories for retrieval-enhanced models: building and searching large ones, and keeping test pictures out of them."""
