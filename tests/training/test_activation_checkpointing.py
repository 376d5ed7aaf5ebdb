# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Recomputed activations: on in every version of transformers, in both towers."""

from tiny_models import tiny_cloob, tiny_inputs

from hf_cloob.training.activation_checkpointing import recompute_activations


def test_every_layer_of_both_towers_runs_again_in_the_backward_pass():
    model = tiny_cloob().train()
    recompute_activations(model)
    layers = [*model.text_model.encoder.layers, *model.vision_model.encoder.layers]
    runs = []
    for number, layer in enumerate(layers):
        layer.layer_norm1.register_forward_hook(lambda *_, number=number: runs.append(number))
    loss = model(**tiny_inputs(), return_loss=True).loss
    forward = sorted(runs)
    loss.backward()
    assert forward == list(range(len(layers)))
    assert sorted(runs) == sorted(2 * forward)
