# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What every test gets: no hub, and random numbers that start from the same seed."""

import os
from collections.abc import Iterator

# Before huggingface_hub is imported, which reads it once: a test that needs the hub must fail, not wait.
os.environ["HF_HUB_OFFLINE"] = "1"
# Tests start processes; a tokenizer that was used before would warn in each of them.
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest  # noqa: E402
import torch  # noqa: E402
from transformers import set_seed  # noqa: E402
from transformers.utils.logging import enable_progress_bar  # noqa: E402

# Two threads on two busy cores wait for each other; the tests' tensors are small.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def fresh_start() -> Iterator[None]:
    """The same random numbers for every test; commands that run inside of it leave nothing to the next."""
    set_seed(0)
    yield
    torch.set_num_threads(1)
    enable_progress_bar()
