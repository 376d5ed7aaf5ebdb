# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Outputs behave as transformers' do: attributes, keys and tuples of what is set."""

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

from hf_cloob import CloobOutput, CloobTextModelOutput, CloobVisionModelOutput


def test_the_first_fields_are_those_of_clips_output_in_its_order():
    from transformers.models.clip.modeling_clip import CLIPOutput

    theirs = list(CLIPOutput.__dataclass_fields__)
    assert list(CloobOutput.__dataclass_fields__)[: len(theirs)] == theirs


def test_a_tuple_holds_what_is_set_and_the_towers_as_tuples():
    states = torch.ones(2, 3, 4)
    tower = BaseModelOutputWithPooling(last_hidden_state=states)
    values = CloobOutput(loss=torch.tensor(1.0), text_model_output=tower).to_tuple()
    assert len(values) == 2 and isinstance(values[1], tuple) and values[1][0] is states


def test_single_tower_outputs_start_with_the_embeddings():
    embeds, states = torch.ones(2, 4), torch.zeros(2, 3, 4)
    assert CloobTextModelOutput(text_embeds=embeds, last_hidden_state=states)[0] is embeds
    assert CloobVisionModelOutput(image_embeds=embeds, last_hidden_state=states)[0] is embeds
