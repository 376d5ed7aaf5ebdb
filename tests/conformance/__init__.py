# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""transformers' own common model tests, run on CloobModel and, for comparison, on CLIPModel: `make conformance`."""
