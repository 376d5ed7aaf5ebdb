# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Interpolated weights are the formula's, the ends are the models themselves, and alpha is chosen by the rule."""

import pytest
import torch
from tiny_models import tiny_cloob, tiny_inputs

from hf_cloob.training.interpolation import ALPHAS, WeightPoint, choose_alpha, interpolate_weights

RESNET = {
    "model_type": "resnet",
    "layer_type": "basic",
    "embedding_size": 8,
    "hidden_sizes": [8, 16],
    "depths": [1, 1],
}


@pytest.fixture(scope="module")
def start_and_finetuned():
    """Two models of one architecture with BatchNorm, apart by a step of training."""
    start, finetuned = (tiny_cloob(vision=RESNET, contrastive_loss="infonce") for _ in range(2))
    optimizer = torch.optim.SGD(finetuned.parameters(), lr=0.5)
    finetuned.train()(**tiny_inputs(), return_loss=True).loss.backward()
    optimizer.step()
    return start, finetuned


def test_every_weight_and_running_statistic_is_the_weighted_mean(start_and_finetuned):
    start, finetuned = (model.state_dict() for model in start_and_finetuned)
    between = interpolate_weights(start, finetuned, 0.3)
    assert any("running_var" in name and not torch.equal(start[name], finetuned[name]) for name in start)
    for name, tensor in between.items():
        assert tensor.dtype == start[name].dtype
        if tensor.is_floating_point():
            expected = 0.7 * start[name].double() + 0.3 * finetuned[name].double()
            torch.testing.assert_close(tensor.double(), expected, rtol=1e-6, atol=1e-7)
        else:
            assert torch.equal(tensor, finetuned[name])


def test_the_ends_are_the_two_models_to_the_last_bit_and_share_no_memory(start_and_finetuned):
    states = [model.state_dict() for model in start_and_finetuned]
    for alpha, state in zip((0.0, 1.0), states, strict=True):
        between = interpolate_weights(*states, alpha)
        assert all(torch.equal(between[name], tensor) for name, tensor in state.items())
        assert not {each.data_ptr() for each in between.values()} & {each.data_ptr() for each in state.values()}
    assert int(states[0]["vision_model.embedder.embedder.normalization.num_batches_tracked"]) == 0


def test_a_model_takes_the_interpolated_weights_and_lies_between_the_two(start_and_finetuned):
    start, finetuned = start_and_finetuned
    model = tiny_cloob(vision=RESNET, contrastive_loss="infonce", seed=3)
    losses = []
    for alpha in (0.0, 0.5, 1.0):
        model.load_state_dict(interpolate_weights(start.state_dict(), finetuned.state_dict(), alpha))
        with torch.no_grad():
            losses.append(model.eval()(**tiny_inputs(), return_loss=True).loss.item())
    assert len(set(losses)) == 3


def test_half_precision_is_computed_in_float32():
    start, end = torch.full((4,), 256.0, dtype=torch.bfloat16), torch.full((4,), 258.0, dtype=torch.bfloat16)
    between = interpolate_weights({"w": start}, {"w": end}, 0.9)["w"]
    assert between.dtype == torch.bfloat16 and between.tolist() == [258.0] * 4


@pytest.mark.parametrize("alpha", [-0.1, 1.1])
def test_an_alpha_outside_the_unit_interval_is_refused(alpha):
    with pytest.raises(ValueError, match=rf"alpha must be in \[0, 1\], got {alpha}"):
        interpolate_weights({}, {}, alpha)


def test_models_of_two_architectures_are_refused():
    one = {"a": torch.zeros(2), "b": torch.zeros(2)}
    with pytest.raises(ValueError, match=r"only one of them has \['b'\]"):
        interpolate_weights(one, {"a": torch.zeros(2)}, 0.5)
    with pytest.raises(ValueError, match=r"b is \(2,\) in the start and \(3,\)"):
        interpolate_weights(one, one | {"b": torch.zeros(3)}, 0.5)


def test_alpha_is_the_best_on_the_new_task_among_those_that_keep_the_known_one():
    curve = [(0.0, 0.4, 0.50), (0.1, 0.5, 0.52), (0.2, 0.6, 0.50), (0.3, 0.7, 0.495), (1.0, 0.9, 0.2)]
    points = [WeightPoint(*point) for point in curve]
    assert choose_alpha(points).alpha == 0.2
    assert choose_alpha(points, max_known_loss=0.01).alpha == 0.3
    assert choose_alpha(points, max_known_loss=1.0).alpha == 1.0
    assert choose_alpha([*points, WeightPoint(0.15, 0.6, 0.51)]).alpha == 0.15
    with pytest.raises(ValueError, match="need the start"):
        choose_alpha(points[1:])


def test_the_curve_has_both_ends():
    assert (ALPHAS[0], ALPHAS[-1], len(ALPHAS)) == (0.0, 1.0, 11)
