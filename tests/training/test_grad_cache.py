# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A backward pass in chunks gives every parameter the gradient of the whole batch, in one process and in several."""

import weakref
from contextlib import nullcontext

import grad_cache_workers as workers
import pytest
import torch
from gloo import run_in_processes
from tiny_models import WIDTH, tiny_cloob, tiny_inputs
from torch import nn

from hf_cloob.training.activation_checkpointing import recompute_activations
from hf_cloob.training.frozen_towers import freeze
from hf_cloob.training.grad_cache import backward_in_chunks

REGULARIZERS = {"alignment_weight": 1.0, "uniformity_weight": 0.5, "cross_modal_uniformity_weight": 0.5}
OBJECTIVES = {
    "infoloob": {},
    "infoloob_regularized": {"learn_logit_scale": True, **REGULARIZERS},
    "infonce": {"contrastive_loss": "infonce", "label_smoothing": 0.1},
    "infonce_retrieval": {"contrastive_loss": "infonce", "hopfield_scale": 8.0, **REGULARIZERS},
    "sigmoid": {"contrastive_loss": "sigmoid", **REGULARIZERS},
    "mlp": {"projection_type": "mlp"},
}
LEARNED = ("infoloob_regularized", "infonce", "infonce_retrieval", "sigmoid")
RESNET = {
    "model_type": "resnet",
    "layer_type": "basic",
    "embedding_size": 8,
    "hidden_sizes": [8, 16],
    "depths": [1, 1],
}
EXACT = {"rtol": 1e-9, "atol": 1e-12}


def double_inputs(pairs: int = 7) -> dict[str, torch.Tensor]:
    inputs = tiny_inputs(pairs)
    return inputs | {"pixel_values": inputs["pixel_values"].double()}


def assert_equal_gradients(gradients: dict, expected: dict, rtol: float = 1e-9, atol: float = 1e-12) -> None:
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(
            gradient, expected[name], rtol=rtol, atol=atol, msg=lambda message, name=name: f"{name}: {message}"
        )


def assert_equal_records(records: list, expected: list) -> None:
    for (loss, gradients), (expected_loss, expected_gradients) in zip(records, expected, strict=True):
        torch.testing.assert_close(loss, expected_loss, **EXACT)
        assert_equal_gradients(gradients, expected_gradients)


def gradients_in_chunks(model, inputs, micro_batch_size, **options) -> dict:
    model.zero_grad()
    backward_in_chunks(model, inputs, micro_batch_size, **options)
    return workers.gradients_of(model)


def total_norm(gradients) -> float:
    return torch.nn.utils.get_total_norm(list(gradients)).item()


# One process


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("micro_batch_size", [1, 3, 7, 100])
def test_gradients_and_losses_are_those_of_the_plain_pass(name, micro_batch_size):
    model, inputs = workers.double_model(OBJECTIVES[name]), double_inputs()
    expected = workers.plain_backward(model, inputs, retrieval_weight=0.4)
    expected_gradients = workers.gradients_of(model)
    model.zero_grad()
    outputs = backward_in_chunks(model, inputs, micro_batch_size, retrieval_weight=0.4)
    assert_equal_gradients(workers.gradients_of(model), expected_gradients)
    if name in LEARNED:
        assert model.log_inverse_temperature.grad.abs() > 0
    parts = [part for part in expected if part not in ("logits_per_image", "logits_per_text")]
    parts = [part for part in parts if not part.endswith("model_output")]
    assert set(outputs) == set(parts)
    for part in parts:
        assert not outputs[part].requires_grad
        torch.testing.assert_close(outputs[part], expected[part].detach(), **EXACT)


def test_one_chunk_under_dropout_is_the_plain_pass():
    model, inputs = workers.double_model(workers.DROPOUT), double_inputs()
    torch.manual_seed(1)
    workers.plain_backward(model, inputs)
    expected = workers.gradients_of(model)
    torch.manual_seed(1)
    assert_equal_gradients(gradients_in_chunks(model, inputs, 7), expected)


@pytest.mark.parametrize("micro_batch_size", [2, 3])
def test_chunks_under_dropout_drop_the_same_units_in_both_runs(micro_batch_size):
    model, inputs = workers.double_model(workers.DROPOUT), double_inputs()
    workers.joined_backward(model, [7], [micro_batch_size], step=1)
    expected = workers.gradients_of(model)
    workers.seed_process(1, 0)
    assert_equal_gradients(gradients_in_chunks(model, inputs, micro_batch_size), expected)


@pytest.mark.parametrize("changed", ["seed", "batch"])
def test_another_dropout_seed_or_batch_fails_this_comparison(changed):
    model, inputs = workers.double_model(workers.DROPOUT), double_inputs()
    workers.joined_backward(model, [7], [3], step=1)
    expected = workers.gradients_of(model)
    workers.seed_process(2 if changed == "seed" else 1, 0)
    if changed == "batch":
        inputs["pixel_values"][0, 0, 0, 0] += 0.01
    with pytest.raises(AssertionError):
        assert_equal_gradients(gradients_in_chunks(model, inputs, 3), expected)


def test_dropout_without_the_saved_random_states_fails_this_comparison(monkeypatch):
    from hf_cloob.training import grad_cache

    model, inputs = workers.double_model(workers.DROPOUT), double_inputs()
    workers.joined_backward(model, [7], [3], step=1)
    expected = workers.gradients_of(model)
    monkeypatch.setattr(grad_cache, "_set_random_state", lambda state, device: None)
    workers.seed_process(1, 0)
    with pytest.raises(AssertionError):
        assert_equal_gradients(gradients_in_chunks(model, inputs, 3), expected)


def test_the_random_numbers_after_a_step_are_those_after_one_run_of_its_chunks():
    model, inputs = workers.double_model(workers.DROPOUT), double_inputs()
    workers.joined_backward(model, [7], [3], step=1)
    expected = torch.rand(3)
    workers.seed_process(1, 0)
    backward_in_chunks(model, inputs, 3)
    assert torch.equal(torch.rand(3), expected)


def test_recomputed_activations_change_nothing():
    model, inputs = workers.double_model(workers.DROPOUT), double_inputs()
    workers.joined_backward(model, [7], [3], step=1)
    expected = workers.gradients_of(model)
    recompute_activations(model)
    workers.seed_process(1, 0)
    assert_equal_gradients(gradients_in_chunks(model, inputs, 3), expected)


@pytest.mark.parametrize("where", ["around the step", "inside the forward"])
@pytest.mark.parametrize(("micro_batch_size", "error"), [(7, 0.0), (3, 0.01)])
def test_autocast_rounds_as_in_the_plain_pass(where, micro_batch_size, error):
    # Several chunks add up the gradient of a weight in another order and precision.
    model, inputs = tiny_cloob(**workers.DROPOUT, contrastive_loss="infonce").train(), tiny_inputs(7)
    bf16 = torch.autocast("cpu", torch.bfloat16)
    if where == "inside the forward":
        # As `accelerator.prepare` has it.
        model.forward = bf16(model.forward)
    with bf16 if where == "around the step" else nullcontext():
        workers.seed_process(1, 0)
        gradients = gradients_in_chunks(model, inputs, micro_batch_size)
    model.zero_grad()
    with bf16 if where == "around the step" else nullcontext():
        workers.joined_backward(model, [7], [micro_batch_size], step=1)
    expected = workers.gradients_of(model)
    differences = [gradients[name] - expected[name] for name in expected]
    assert total_norm(differences) <= error * total_norm(expected.values())


def test_a_gradient_scaler_scales_every_gradient():
    model, inputs = workers.double_model({"contrastive_loss": "sigmoid"}), double_inputs()
    workers.plain_backward(model, inputs)
    expected = {name: 1024 * gradient for name, gradient in workers.gradients_of(model).items()}
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    gradients = gradients_in_chunks(model, inputs, 3, backward=lambda loss: scaler.scale(loss).backward())
    assert_equal_gradients(gradients, expected)


def test_gradients_are_added_to_those_that_are_there():
    model, inputs = workers.double_model({"contrastive_loss": "sigmoid"}), double_inputs()
    expected = {name: 2 * gradient for name, gradient in gradients_in_chunks(model, inputs, 3).items()}
    backward_in_chunks(model, inputs, 2)
    assert_equal_gradients(workers.gradients_of(model), expected)


def test_pooled_states_of_a_locked_text_tower_take_the_place_of_tokens():
    model = workers.double_model({})
    pixel_values = double_inputs()["pixel_values"]
    inputs = {"pixel_values": pixel_values, "text_pooler_output": torch.randn(7, WIDTH["hidden_size"]).double()}
    freeze(model.text_model)
    workers.plain_backward(model, inputs)
    expected = workers.gradients_of(model)
    assert "text_projection.weight" in expected and not any(name.startswith("text_model") for name in expected)
    assert_equal_gradients(gradients_in_chunks(model, inputs, 3), expected)


def test_what_is_no_tensor_goes_to_every_chunk():
    model = workers.double_model({})
    inputs = tiny_inputs(7, image_size=24) | {"interpolate_pos_encoding": True, "position_ids": None}
    inputs["pixel_values"] = inputs["pixel_values"].double()
    workers.plain_backward(model, inputs)
    expected = workers.gradients_of(model)
    assert_equal_gradients(gradients_in_chunks(model, inputs, 3), expected)


def test_running_statistics_take_every_chunk_in_once():
    models = [workers.double_model({"vision": RESNET}) for _ in range(2)]
    inputs = double_inputs() | {"pixel_values": torch.randn(7, 3, 32, 32).double()}
    backward_in_chunks(models[0], inputs, 3)
    for start in (0, 3, 6):
        models[1](**{name: value[start : start + 3] for name, value in inputs.items()})
    buffers = [dict(model.named_buffers()) for model in models]
    counters = [buffer for name, buffer in buffers[0].items() if name.endswith("num_batches_tracked")]
    assert counters and all(counter == 3 for counter in counters)
    for name, buffer in buffers[0].items():
        assert torch.equal(buffer, buffers[1][name]), name


def test_only_the_embeddings_of_the_whole_batch_and_one_chunk_are_kept(monkeypatch):
    model, inputs = workers.double_model({}), double_inputs(12)
    rows, alive = [], []

    def count(module, args, kwargs, outputs):
        rows.append((len(outputs.image_embeds), torch.is_grad_enabled()))
        alive.append(weakref.ref(outputs.vision_model_output.last_hidden_state))
        # The states of the chunk before are gone by now, those of this one are not.
        assert [state() is None for state in alive] == [True] * (len(alive) - 1) + [False]

    model.register_forward_hook(count, with_kwargs=True)
    backward_in_chunks(model, inputs, 5)
    assert rows == [(5, False), (5, False), (2, False), (5, True), (5, True), (2, True)]
    assert alive[-1]() is None


@pytest.mark.parametrize(
    ("changes", "micro_batch_size", "message"),
    [
        ({}, 0, "micro_batch_size must be at least 1, got 0"),
        ({"input_ids": torch.ones(6, 3, dtype=torch.long)}, 3, r"equal numbers of rows, got \{.*'input_ids': 6"),
        (
            {"pixel_values": torch.full((7, 3, 16, 16), torch.nan).double()},
            3,
            "image_embeds holds NaN .* in 7 of 7 rows",
        ),
        ({"retrieval_weight": 2.0}, 3, r"retrieval_weight must be in \[0, 1\], got 2.0"),
    ],
)
def test_mistakes_are_named_and_no_gradient_is_left(changes, micro_batch_size, message):
    model = workers.double_model({})
    options = {"retrieval_weight": changes.pop("retrieval_weight")} if "retrieval_weight" in changes else {}
    with pytest.raises(ValueError, match=message):
        backward_in_chunks(model, double_inputs() | changes, micro_batch_size, **options)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_statistics_over_processes_are_refused():
    model = nn.SyncBatchNorm.convert_sync_batchnorm(workers.double_model({"vision": RESNET}))
    with pytest.raises(ValueError, match="SyncBatchNorm joins the processes in every chunk"):
        backward_in_chunks(model, double_inputs(), 3)


# Several processes


def test_two_processes_with_unequal_batches_and_chunks_equal_one_process_under_every_objective():
    sizes, micro_batch_sizes = [7, 3], [2, 3]
    results = run_in_processes(workers.chunked_cases, 2, OBJECTIVES, sizes, micro_batch_sizes)
    for name, fields in OBJECTIVES.items():
        expected = workers.joined_steps(fields, sizes, micro_batch_sizes)
        if name in LEARNED:
            assert expected[0][1]["log_inverse_temperature"].abs() > 0
        for records in results:
            assert_equal_records(records[name], expected)


def test_each_of_two_processes_drops_its_own_units_alike_in_both_runs():
    sizes, micro_batch_sizes = [5, 4], [2, 3]
    expected = workers.joined_steps(workers.DROPOUT, sizes, micro_batch_sizes)
    for records in run_in_processes(workers.chunked_steps, 2, workers.DROPOUT, sizes, micro_batch_sizes):
        assert_equal_records(records, expected)


def test_a_process_without_a_row_takes_part():
    fields = OBJECTIVES["sigmoid"]
    expected = workers.joined_steps(fields, [0, 4], [2, 3])
    for records in run_in_processes(workers.chunked_steps, 2, fields, [0, 4], [2, 3]):
        assert_equal_records(records, expected)


@pytest.mark.parametrize("name", ["infoloob_regularized", "sigmoid"])
def test_accumulated_batches_under_accelerate_equal_plain_ones(name):
    arguments = (workers.accumulated_step, OBJECTIVES[name], [5, 3])
    for plain, chunked in run_in_processes(workers.plain_and_chunked, 2, *arguments):
        assert_equal_gradients(chunked, plain)


def test_a_locked_text_tower_with_recomputed_activations_equals_the_plain_pass():
    for plain, chunked in run_in_processes(workers.plain_and_chunked, 2, workers.locked_text_step, [5, 3]):
        assert_equal_gradients(chunked, plain)


@pytest.mark.slow
def test_four_processes_equal_one():
    sizes, micro_batch_sizes = [3, 1, 4, 2], [2, 2, 3, 1]
    fields = workers.DROPOUT | OBJECTIVES["infonce_retrieval"]
    expected = workers.joined_steps(fields, sizes, micro_batch_sizes)
    for records in run_in_processes(workers.chunked_steps, 4, fields, sizes, micro_batch_sizes):
        assert_equal_records(records, expected)


def test_one_process_of_a_group_equals_no_group():
    fields = workers.DROPOUT | OBJECTIVES["sigmoid"]
    (records,) = run_in_processes(workers.chunked_steps, 1, fields, [7], [3])
    assert_equal_records(records, workers.joined_steps(fields, [7], [3]))


@pytest.mark.slow
def test_the_curves_of_200_steps_differ_by_rounding_only():
    # In float64, where training multiplies a difference a thousandfold and it still is none.
    plain = workers.adamw_losses(0, [9], None, num_steps=200)
    assert (plain - plain[0]).abs().max() > 0.01
    curves = [workers.adamw_losses(0, [9], [2], num_steps=200)]
    curves += run_in_processes(workers.adamw_losses, 2, [5, 4], None, 200)
    curves += run_in_processes(workers.adamw_losses, 2, [5, 4], [2, 3], 200)
    for losses in curves:
        torch.testing.assert_close(losses, plain, rtol=0, atol=1e-10)
