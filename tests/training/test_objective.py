# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Auxiliary losses beside the contrastive one: composed as said, exact over processes and in micro-batches."""

import objective_workers as workers
import pytest
import reference_noncontrastive as reference
import torch
from gloo import run_in_processes
from reference import rows
from tiny_models import tiny_cloob
from torch.nn import functional as F

from hf_cloob.training.auxiliary_settings import AUXILIARY_WEIGHTS, AuxiliarySettings
from hf_cloob.training.frozen_towers import freeze
from hf_cloob.training.objective import TrainingObjective

EXACT = {"rtol": 1e-8, "atol": 1e-11}


def inputs_for(objective, pairs: int = 6) -> dict:
    return workers.rows_of([pairs], None, objective.settings.num_strong_views)


def assert_equal_records(records, expected) -> None:
    for (losses, tensors), (expected_losses, expected_tensors) in zip(records, expected, strict=True):
        for own, wanted in ((losses, expected_losses), (tensors, expected_tensors)):
            assert own.keys() == wanted.keys()
            for name in wanted:
                torch.testing.assert_close(own[name], wanted[name], **EXACT, msg=lambda m, n=name: f"{n}: {m}")


def head_rows(head, states):
    return rows(F.normalize(head(states), dim=1))


# What the losses are


@pytest.mark.parametrize("name", workers.OBJECTIVES)
def test_the_loss_is_the_weighted_sum_of_its_logged_parts(name):
    objective = workers.build(name)
    settings, model = objective.settings, objective.model
    losses, _ = workers.step(objective, objective, inputs_for(objective))
    # InfoLOOB is a sum of two directions with a leading tau: everything else gets 2 tau.
    scale = 2 / 30 if model.config.contrastive_loss == "infoloob" else 1.0
    expected = losses["contrastive_loss"]
    if settings.strong_pairs:
        views = settings.num_strong_views
        expected = (expected + views * scale * losses["strong_loss"]) / (1 + views)
    if settings.auxiliary_loss != "none":
        weight = settings.auxiliary_weight or AUXILIARY_WEIGHTS[settings.auxiliary_loss]
        expected = expected + weight * scale * losses[f"{settings.auxiliary_loss}_loss"]
    torch.testing.assert_close(losses["loss"], expected, rtol=1e-6, atol=0)
    assert len(losses) == 2 + settings.strong_pairs + (settings.auxiliary_loss != "none")


def test_every_part_equals_the_papers_formula_on_the_heads_outputs():
    for name in ("rocket", "swalip", "slip", "barlip", "siamlip", "byolip"):
        objective = workers.build(name)
        states = objective.embed(**inputs_for(objective))
        losses = objective.compute_losses(*states.values())
        images, texts = (
            (states[f"strong_{side}_states"].unbind(1) for side in ("image", "text"))
            if ("strong_text_states" in states)
            else (states["strong_image_states"].unbind(1), ())
        )
        if name in ("rocket", "swalip"):
            views = [[head_rows(objective.strong_image_head, view) for view in images]]
            views.append([head_rows(objective.strong_text_head, view) for view in texts])
            if name == "rocket":
                assert losses["strong_loss"] == pytest.approx(reference.strong_pairs(*views, 10.0, 0.1).item())
            else:
                assert losses["swalip_loss"] == pytest.approx(reference.swalip(*views, 10.0).item())
            continue
        if name == "slip":
            views = [head_rows(objective.image_projector, view) for view in images]
            assert losses["slip_loss"] == pytest.approx(reference.simclr(*views, 10.0).item())
            continue
        of_images = [objective.image_projector(view) for view in (states["image_states"], *images)]
        of_texts = [objective.text_projector(view) for view in (states["text_states"], *texts)]
        pairs = [(0, 0), (1, 1), (1, 2), (2, 1), (2, 2)]
        if name == "barlip":
            terms = [reference.barlow_twins(rows(of_images[i]), rows(of_texts[j])) for i, j in pairs]
        else:
            predicted_texts = [head_rows(objective.image_predictor, view) for view in of_images]
            predicted_images = [head_rows(objective.text_predictor, view) for view in of_texts]
            if name == "byolip":
                copy = objective.momentum_copy.module
                views = states["target_image_states"], *states["target_strong_image_states"].unbind(1)
                of_images = [copy["image_projector"](view) for view in views]
                views = states["target_text_states"], *states["target_strong_text_states"].unbind(1)
                of_texts = [copy["text_projector"](view) for view in views]
            of_images, of_texts = ([rows(F.normalize(v, dim=1)) for v in side] for side in (of_images, of_texts))
            terms = [reference.negative_cosine(predicted_texts[i], of_texts[j]) for i, j in pairs]
            terms += [reference.negative_cosine(predicted_images[j], of_images[i]) for i, j in pairs]
            assert len(terms) == 2 + 2 * 2**2
        assert losses[f"{name}_loss"] == pytest.approx((sum(terms) / len(terms)).item()), name


def test_the_towers_pass_of_a_strong_text_is_the_only_one_with_dropout():
    objective = workers.build("rocket", strong_text_dropout=0.5)
    first, second = (objective.embed(**inputs_for(objective)) for _ in range(2))
    same = {name: torch.equal(first[name], second[name]) for name in first}
    assert same.pop("strong_text_states") is False and all(same.values())
    objective.eval()
    first, second = (objective.embed(**inputs_for(objective)) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_weak_embeddings_are_those_of_the_published_model():
    objective = workers.build("rocket")
    inputs = inputs_for(objective)
    rows_of_objective = objective.embed(**inputs)
    weak = {name: inputs[name] for name in ("pixel_values", "input_ids", "attention_mask")}
    outputs = objective.model(**weak)
    torch.testing.assert_close(rows_of_objective["image_embeds"], outputs.image_embeds)
    torch.testing.assert_close(rows_of_objective["text_embeds"], outputs.text_embeds)


def test_pooled_states_of_a_locked_text_tower_take_the_place_of_weak_tokens():
    objective = workers.build("slip")
    freeze(objective.model.text_model)
    objective.train()
    assert not objective.model.text_model.training and objective.model.vision_model.training
    inputs = inputs_for(objective)
    expected = objective.embed(**inputs)
    pooled = objective.model.pooled_text_states(inputs.pop("input_ids"), inputs.pop("attention_mask")).pooler_output
    del inputs["strong_input_ids"], inputs["strong_attention_mask"]
    rows_of_objective = objective.embed(**inputs, text_pooler_output=pooled)
    torch.testing.assert_close(rows_of_objective["text_embeds"], expected["text_embeds"])


def test_the_copy_of_a_locked_tower_drops_nothing_either():
    objective = workers.build("byolip")
    freeze(objective.model.text_model)
    objective.train()
    copy = objective.momentum_copy.module["model"]
    assert copy.vision_model.training and not copy.text_model.training


# Stop-gradients


def test_targets_and_their_copy_get_no_gradient():
    objective = workers.build("byolip")
    states = {
        name: value.detach().requires_grad_() for name, value in objective.embed(**inputs_for(objective)).items()
    }
    loss = objective.compute_losses(*states.values())["byolip_loss"]
    assert not loss.requires_grad  # logged parts are detached
    objective.compute_losses(*states.values())["loss"].backward()
    for name, value in states.items():
        assert (value.grad is None) == name.startswith("target_"), name
    assert all(parameter.grad is None for parameter in objective.momentum_copy.parameters())


def test_a_siamese_projection_gets_no_gradient_where_it_is_a_target():
    objective = workers.build("siamlip", auxiliary_weight=1.0)
    # Text predictions are constants now: what is left reaches the text projector as a target only.
    for parameter in objective.text_predictor.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.ones_(objective.text_predictor.layers[-1].bias)
    objective.compute_losses(*objective.embed(**inputs_for(objective)).values())["loss"].backward()
    assert all(parameter.grad.abs().max() == 0 for parameter in objective.text_projector.parameters())
    assert any(parameter.grad.abs().max() > 0 for parameter in objective.image_projector.parameters())


# Processes and micro-batches


@pytest.mark.parametrize("sizes", [[5, 3], [2, 6]], ids=str)
def test_two_processes_of_unequal_batches_equal_one_for_every_objective(sizes):
    results = run_in_processes(workers.every_objective_under_ddp, 2, sizes, [0, 0])
    for name in workers.OBJECTIVES:
        expected = workers.one_process(name, sizes)
        for records in results:
            assert_equal_records(records[name], expected)


def test_two_processes_in_unequal_micro_batches_equal_one_plain_pass():
    results = run_in_processes(workers.every_objective_under_ddp, 2, [5, 3], [2, 3])
    for name in workers.OBJECTIVES:
        expected = workers.one_process(name, [5, 3])
        for records in results:
            assert_equal_records(records[name], expected)


@pytest.mark.parametrize("name", workers.OBJECTIVES)
def test_micro_batches_equal_the_plain_pass(name):
    plain, chunked = workers.build(name), workers.build(name)
    inputs = inputs_for(plain, 7)
    expected = workers.steps(plain, plain, inputs)
    assert_equal_records(workers.steps(chunked, chunked, inputs, 3), expected)


@pytest.mark.parametrize("name", ["rocket", "byolip", "cloob_rocket_barlip"])
def test_micro_batches_under_dropout_drop_the_same_units_in_both_runs(name):
    assert_equal_records([workers.dropped_step(name, 3)], [workers.dropped_reference(name, 3)])


def test_a_process_without_a_pair_takes_part():
    results = run_in_processes(workers.every_objective_under_ddp, 2, [0, 6], [2, 3])
    for name in workers.OBJECTIVES:
        expected = workers.one_process(name, [0, 6])
        for records in results:
            assert_equal_records(records[name], expected)


def test_statistics_without_gradient_fail_this_comparison():
    expected = workers.one_process("siamlip", [5, 3])
    for records in run_in_processes(workers.without_gradient_of_the_statistics, 2, [5, 3]):
        torch.testing.assert_close(records[0][0]["loss"], expected[0][0]["loss"])
        with pytest.raises(AssertionError):
            assert_equal_records(records, expected)


# Training


@pytest.mark.parametrize("name", workers.OBJECTIVES)
def test_twenty_steps_lower_every_loss_and_keep_it_finite(name):
    objective = workers.build(name)
    inputs = inputs_for(objective, 8)
    optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr=2e-3)
    curve = []
    for _ in range(20):
        losses, _ = workers.step(objective, objective, inputs)
        optimizer.step()
        objective.update_momentum()
        assert all(value.isfinite() for value in losses.values())
        curve.append(losses)
    assert all(curve[-1][part] < curve[0][part] for part in curve[0]), [curve[0], curve[-1]]


def test_bfloat16_autocast_trains_with_heads_in_float32():
    objective = workers.build("cloob_rocket_barlip").float()
    inputs = {
        name: value.float() if value.is_floating_point() else value for name, value in inputs_for(objective).items()
    }
    dtypes = set()
    objective.image_projector.register_forward_hook(lambda module, args, outputs: dtypes.add(outputs.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        losses, _ = workers.step(objective, objective, inputs)
    assert all(value.isfinite() for value in losses.values())
    assert dtypes == {torch.float32} and losses["barlip_loss"].dtype == torch.float32


def test_the_published_model_holds_no_head_and_the_objective_holds_everything():
    objective = workers.build("byolip")
    published = set(objective.model.state_dict())
    assert not any("projector" in name or "momentum" in name for name in published)
    state = objective.state_dict()
    assert {f"model.{name}" for name in published} < set(state)
    assert any(name.startswith("momentum_copy.module.model.") for name in state)
    other = workers.build("byolip", ema_momentum=0.9)
    other.load_state_dict(state)
    assert_equal_records(
        [workers.step(other, other, inputs_for(other))], [workers.step(objective, objective, inputs_for(objective))]
    )


# Mistakes


def test_missing_views_are_named():
    objective = workers.build("rocket")
    inputs = inputs_for(objective)
    del inputs["strong_pixel_values"]
    with pytest.raises(ValueError, match="strong_pixel_values missing: this objective needs weak and strong views"):
        objective(**inputs)


def test_text_dropout_of_a_frozen_tower_is_refused():
    model = tiny_cloob()
    freeze(model.text_model)
    with pytest.raises(ValueError, match="strong_text_dropout=0.1 needs a text tower that trains"):
        TrainingObjective(model, AuxiliarySettings(strong_pairs=True, strong_text_dropout=0.1))
