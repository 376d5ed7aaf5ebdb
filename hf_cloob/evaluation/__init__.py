# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Measures a trained model: zero-shot classification, image-text retrieval, the emoji protocol and its pictures."""
