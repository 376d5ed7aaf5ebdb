# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Several real processes equal one on the joined batch: the loss and every parameter's gradient."""

import time

import distributed_workers as workers
import pytest
import torch
from gloo import run_in_processes
from test_blockwise import LOSSES, T, embeddings

from hf_cloob.distributed import all_gather_with_grad, all_reduce_with_grad, world_size

SIZES = [5, 3]
REGULARIZERS = {"alignment_weight": 1.0, "uniformity_weight": 0.5, "cross_modal_uniformity_weight": 0.5}
OBJECTIVES = {
    "infoloob": {},
    "infoloob_learned": {"learn_logit_scale": True, **REGULARIZERS},
    "infonce": {"contrastive_loss": "infonce", "label_smoothing": 0.1},
    "infonce_retrieval": {"contrastive_loss": "infonce", "hopfield_scale": 8.0},
    "sigmoid": {"contrastive_loss": "sigmoid", **REGULARIZERS},
    "mlp": {"projection_type": "mlp", **REGULARIZERS},
}


def one_process(sizes: list[int], fields: dict) -> list:
    model = workers.double_cloob(**fields)
    return workers.train_steps(model, model, workers.joined_inputs(sizes))


def assert_equal_steps(records: list, expected: list) -> None:
    for (loss, gradients), (expected_loss, expected_gradients) in zip(records, expected, strict=True):
        torch.testing.assert_close(loss, expected_loss, rtol=1e-9, atol=1e-12)
        assert gradients.keys() == expected_gradients.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(
                gradient, expected_gradients[name], rtol=1e-9, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}"
            )


@pytest.mark.parametrize("name", OBJECTIVES)
def test_unequal_batches_under_ddp_equal_one_process_on_the_joined_batch(name):
    expected = one_process(SIZES, OBJECTIVES[name])
    if "learned" in name or "infonce" in name:
        assert expected[0][1]["log_inverse_temperature"].abs() > 0
    for records in run_in_processes(workers.train_with_ddp, 2, SIZES, OBJECTIVES[name]):
        assert_equal_steps(records, expected)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_process_without_a_pair_stays_in_step_and_adds_nothing(name):
    expected = one_process([5], OBJECTIVES[name])
    for sizes in ([5, 0], [0, 5]):
        for records in run_in_processes(workers.train_with_ddp, 2, sizes, OBJECTIVES[name]):
            assert_equal_steps(records, expected)


def test_a_process_none_of_whose_pictures_can_be_read_trains_on_with_the_others():
    first, second = run_in_processes(workers.train_on_pairs_of_which_some_are_broken, 2)
    # Step 0: one picture of the first process is broken. Step 1: all of the second's.
    assert (first["sizes"], second["sizes"]) == ([3, 4, 4], [4, 0, 4])
    assert (first["skipped"], second["skipped"]) == ({"truncated image": 1}, {"zero-byte image": 4})
    assert first["losses"] == pytest.approx(second["losses"], rel=1e-6)
    assert all(torch.equal(one, other) for one, other in zip(first["weights"], second["weights"], strict=True))


def test_a_gather_without_gradient_fails_this_comparison():
    fields = OBJECTIVES["infoloob"]
    expected = one_process(SIZES, fields)
    for records in run_in_processes(workers.train_with_ddp, 2, SIZES, fields, True):
        torch.testing.assert_close(records[0][0], expected[0][0])  # the value is right, which hides the mistake
        with pytest.raises(AssertionError):
            assert_equal_steps(records, expected)


def test_one_pair_a_process_is_a_global_batch():
    expected = one_process([1, 1], {})
    for records in run_in_processes(workers.train_with_ddp, 2, [1, 1], {}):
        assert_equal_steps(records, expected)


def test_accelerate_equals_one_process_on_the_joined_batch():
    expected = one_process(SIZES, OBJECTIVES["infonce"])
    for records in run_in_processes(workers.train_with_accelerate, 2, SIZES, OBJECTIVES["infonce"]):
        assert_equal_steps(records, expected)


@pytest.mark.parametrize("name", ["infonce", "sigmoid"])
def test_fsdp_with_a_learned_scale_equals_one_process(name):
    model = workers.double_cloob(**OBJECTIVES[name])
    expected = workers.train_steps(model, model, workers.joined_inputs(SIZES))
    expected_weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    for losses, weights in run_in_processes(workers.train_with_fsdp, 2, SIZES, OBJECTIVES[name]):
        torch.testing.assert_close(torch.stack(losses), torch.stack([loss for loss, _ in expected]))
        assert weights.keys() == expected_weights.keys()
        for key, weight in weights.items():
            torch.testing.assert_close(weight, expected_weights[key], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("sizes", [[5, 3], [3, 3], [0, 4], pytest.param([2, 1, 4], marks=pytest.mark.slow)])
def test_rows_are_joined_in_the_order_of_the_ranks_and_gradients_are_summed(sizes):
    processes, rows = len(sizes), sum(sizes)
    weights = torch.arange(1.0, rows + 1).unsqueeze(1)
    results = run_in_processes(workers.gather_rows, processes, sizes)
    for rank, (first, second, first_gradient, second_gradient) in enumerate(results):
        assert torch.equal(first, torch.arange(2.0 * rows).reshape(-1, 2))
        assert torch.equal(second, -torch.arange(3.0 * rows).reshape(-1, 3))
        own = weights[sum(sizes[:rank]) : sum(sizes[: rank + 1])]
        assert torch.equal(first_gradient, processes * own.expand(-1, 2))
        assert torch.equal(second_gradient, processes * own.expand(-1, 3))


@pytest.mark.parametrize("sizes", [[5, 3], [0, 4]])
def test_sums_are_added_over_processes_and_so_are_their_gradients(sizes):
    rows = torch.arange(2.0 * sum(sizes)).reshape(-1, 2)
    for rank, (total, gradient) in enumerate(run_in_processes(workers.reduce_sums, 2, sizes)):
        assert torch.equal(total, rows.square().sum(dim=0))
        own = rows[sum(sizes[:rank]) : sum(sizes[: rank + 1])]
        # Twice, which is what DDP's averaging takes away.
        assert torch.equal(gradient, 2 * 2 * own * torch.tensor([1.0, 10.0]))


SHARES = [[5, 3], [4, 0, 7, 2], [1, 1, 0, 0]]


@pytest.mark.parametrize("sizes", SHARES, ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_shared_blocks_equal_one_process_for_every_loss_and_unequal_batches(name, sizes):
    x, y = (embeds.requires_grad_() for embeds in embeddings(sum(sizes), 6))
    t = torch.tensor(T, dtype=torch.float64, requires_grad=True)
    expected = LOSSES[name][1](x, y, t)
    by_x, by_y, by_t = torch.autograd.grad(expected, [x, y, t], allow_unused=True, materialize_grads=True)
    processes = len(sizes)
    for rank, (loss, gradients, _) in enumerate(run_in_processes(workers.shared_loss, processes, name, sizes)):
        own = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
        # The factor is what DDP's averaging takes away; the scale is every process's own parameter.
        wanted = [processes * by_x[own], processes * by_y[own], by_t]
        torch.testing.assert_close(loss, expected.detach(), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(list(gradients), wanted, rtol=1e-8, atol=1e-11)


def test_the_work_is_divided_by_the_number_of_processes():
    (_, _, alone), *_ = run_in_processes(workers.shared_loss, 1, "cloob", [512], 64)
    shares = [flops for _, _, flops in run_in_processes(workers.shared_loss, 4, "cloob", [128] * 4, 64)]
    # Less in all than alone: each process may keep some exponentials for its derivatives.
    assert 0.5 * alone < sum(shares) <= 1.05 * alone
    assert max(shares) < 0.3 * alone


@pytest.mark.slow
def test_a_missing_process_is_named_instead_of_waited_for(tmp_path):
    messages = run_in_processes(workers.wait_for_a_missing_process, 3, str(tmp_path), keep=False)
    for rank in (0, 2):
        assert f"Rank {rank} waits for the embeddings of all 3 processes, rank(s) 1 did not" in messages[rank]


def test_evaluation_is_local_and_one_process_may_evaluate_alone():
    losses, nothing = run_in_processes(workers.evaluate_alone, 2, SIZES, timeout=60.0)
    assert nothing is None
    expected = workers.double_cloob().eval()(**workers.local_inputs(SIZES, 0), return_loss=True).loss
    for loss in losses:
        torch.testing.assert_close(loss, expected.detach())


def test_logits_stay_local():
    assert run_in_processes(workers.logits_shape, 2, SIZES) == [torch.Size([5, 5]), torch.Size([3, 3])]


def test_a_broken_image_of_one_process_is_reported_by_all_with_its_global_row():
    for message in run_in_processes(workers.error_of_a_broken_image, 2, SIZES):
        assert "image_embeds holds NaN or infinite values in 1 of 8 rows" in message and "[5]" in message


def test_without_a_process_group_the_inputs_come_back_untouched():
    rows = torch.ones(2, 3)
    assert world_size() == 1
    assert all_gather_with_grad(rows)[0] is rows
    assert all_reduce_with_grad(rows) is rows


def test_the_helper_reports_a_failed_process_with_its_traceback():
    with pytest.raises(RuntimeError, match="(?s)process 1 failed:.*in fail_on_one.*a mistake of process 1"):
        run_in_processes(workers.fail_on_one)


@pytest.mark.slow
def test_the_helper_ends_a_hanging_process():
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="hang after 6.0 s in hang"):
        run_in_processes(workers.hang, timeout=6.0)
    assert time.monotonic() - start < 30
