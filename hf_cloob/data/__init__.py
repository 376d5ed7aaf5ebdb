# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Image-text pairs: sources, the emoji corpus, augmentation, tokenizers, sampling and collation.

Import from the module that holds the name (`from hf_cloob.data.emoji import load_emoji`); importing this package
alone loads nothing.
"""
