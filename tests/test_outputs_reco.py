# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""RecoOutput as a tuple: what is set, in the order of the fields."""

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

from hf_cloob import RecoNeighbors, RecoOutput


def test_a_tuple_holds_what_is_set_and_the_towers_outputs_as_tuples():
    tower = BaseModelOutputWithPooling(last_hidden_state=torch.ones(2, 3))
    neighbors = RecoNeighbors(torch.ones(1, 2, 3), torch.ones(1, 2), torch.ones(1, 2))
    output = RecoOutput(logits_per_image=torch.zeros(1), text_model_output=tower, image_neighbors=neighbors)
    logits, states, found = output.to_tuple()
    assert logits is output.logits_per_image and states == tower.to_tuple() and found is neighbors
    assert output[0] is logits and output.loss is None
