# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Explaining away: measures against loops, and planted embeddings of which it is known what they keep."""

import pytest
import torch
from sklearn.linear_model import Ridge
from torch.nn.functional import normalize, one_hot

from hf_cloob.evaluation.explaining_away import (
    concepts_by_role,
    forced_choice,
    mean_over_pictures,
    measure_pictures,
    num_absent,
    probe_scores,
    rank_measures,
    ranks_among_absent,
    ridge_scores,
)

NUM_CONCEPTS = 20
CONTAINED = torch.tensor([[3, 1, -1, -1], [0, 2, 4, -1], [5, 3, 2, 1]])


def random_pictures(number: int, seed: int = 0) -> torch.Tensor:
    """(number, 4) concepts of pictures of two to four objects."""
    generator = torch.Generator().manual_seed(seed)
    contained = torch.rand(number, NUM_CONCEPTS, generator=generator).argsort(dim=1)[:, :4]
    counts = torch.randint(2, 5, (number, 1), generator=generator)
    return contained.masked_fill(torch.arange(4) >= counts, -1)


def embeds_of(contained: torch.Tensor, weights: tuple[float, ...], noise: float = 0.02, seed: int = 0) -> torch.Tensor:
    """Pictures as the sum of their objects' directions, each weighed by its rank."""
    directions = torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator().manual_seed(7)))[0][:NUM_CONCEPTS]
    # The last row is for -1: no object.
    directions = torch.cat([directions, torch.zeros(1, 32)])
    embeds = sum(weight * directions[contained[:, rank]] for rank, weight in enumerate(weights))
    generator = torch.Generator().manual_seed(seed)
    return normalize(embeds + noise * torch.randn(embeds.shape, generator=generator), dim=-1)


def prompts() -> torch.Tensor:
    return embeds_of(torch.arange(NUM_CONCEPTS)[:, None], (1.0,), noise=0)


def test_roles_name_the_first_and_the_last_object_and_every_rank():
    roles = concepts_by_role(CONTAINED)
    assert roles["most"].tolist() == [3, 0, 5]
    assert roles["least"].tolist() == [1, 4, 1]
    assert roles["rank_3"].tolist() == [-1, 4, 2]
    assert roles["rank_4"].tolist() == [-1, -1, 1]


@pytest.mark.parametrize("row", [[1, -1, -1], [1, -1, 2], [-1, 1, 2]])
def test_a_picture_of_one_object_or_with_a_gap_is_refused(row):
    with pytest.raises(ValueError, match="at least two concepts"):
        concepts_by_role(torch.tensor([row]))


def test_ranks_are_those_of_a_loop_over_absent_concepts():
    contained = random_pictures(40)
    # Few values, so that there are ties.
    scores = torch.randint(0, 6, (40, NUM_CONCEPTS), generator=torch.Generator().manual_seed(1)).float()
    for wanted in concepts_by_role(contained).values():
        ranks = ranks_among_absent(scores, wanted, contained)
        for row in range(40):
            if wanted[row] < 0:
                assert ranks[row] == 0
                continue
            rivals = [concept for concept in range(NUM_CONCEPTS) if concept not in contained[row].tolist()]
            better = sum(1 for rival in rivals if scores[row, rival] >= scores[row, wanted[row]])
            assert ranks[row] == 1 + better


def test_measures_of_ranks_are_their_definitions():
    found = rank_measures(torch.tensor([1, 5, 11, 0]), torch.tensor([10, 10, 10, 10]), ks=(1, 5))
    assert found["recall@1"].tolist()[:3] == [1, 0, 0]
    assert found["recall@5"].tolist()[:3] == [1, 1, 0]
    assert found["reciprocal_rank"].tolist()[:3] == pytest.approx([1, 1 / 5, 1 / 11])
    assert found["auc"].tolist()[:3] == pytest.approx([1, 0.6, 0])
    assert all(values[3].isnan() for values in found.values())


def test_ridge_scores_are_scikit_learns_but_for_the_intercept():
    generator = torch.Generator().manual_seed(0)
    inputs, others = torch.randn(60, 6, generator=generator), torch.randn(9, 6, generator=generator)
    targets = torch.randint(0, 4, (60,), generator=generator)
    centered = inputs.double() - inputs.double().mean(dim=0)
    alpha = 0.3 * float((centered**2).mean()) * 60
    wanted = Ridge(alpha=alpha).fit(inputs.double().numpy(), one_hot(targets, 4).double().numpy())
    shares = one_hot(targets, 4).double().mean(dim=0).numpy()
    found = ridge_scores(inputs, targets, others, 4, penalty=0.3)
    assert found.numpy() == pytest.approx(wanted.predict(others.double().numpy()) - shares, abs=1e-10)


def test_a_collapsed_model_gives_scores_that_say_nothing():
    scores = ridge_scores(torch.ones(8, 3), torch.arange(8) % 4, torch.ones(2, 3), 4, penalty=1e-3)
    assert scores.abs().max() == 0


def test_where_all_objects_are_kept_each_is_decoded_and_retrieved():
    fit, contained = random_pictures(3000), random_pictures(300, seed=1)
    weights = (1.0, 0.9, 0.8, 0.7)
    found = measure_pictures(embeds_of(contained, weights), contained, prompts(), embeds_of(fit, weights), fit)
    for measure in ("probe", "retrieval"):
        for role in ("most", "least", "rank_1", "rank_2", "rank_3", "rank_4"):
            assert found[f"{measure}_{role}_recall@1"].nanmean() > 0.99
            assert found[f"{measure}_{role}_auc"].nanmean() > 0.99


def test_total_explaining_away_leaves_chance_for_the_least_salient_object():
    fit, contained = random_pictures(3000), random_pictures(2000, seed=1)
    only_largest = (1.0, 0.0, 0.0, 0.0)
    found = measure_pictures(
        embeds_of(contained, only_largest), contained, prompts(), embeds_of(fit, only_largest, seed=1), fit
    )
    for measure in ("probe", "retrieval"):
        assert found[f"{measure}_most_recall@1"].mean() > 0.99
        for role in ("least", "rank_2", "rank_3", "rank_4"):
            assert float(found[f"{measure}_{role}_auc"].nanmean()) == pytest.approx(0.5, abs=0.04)
            # One of the absent concepts and itself: 17 to 19 names.
            assert float(found[f"{measure}_{role}_recall@1"].nanmean()) == pytest.approx(1 / 18, abs=0.03)
    # A caption with the least object's name exchanged: both captions are as near.
    embeds = embeds_of(contained, only_largest, noise=0)
    other = contained.clone()
    other.scatter_(1, (contained >= 0).sum(dim=1, keepdim=True) - 1, NUM_CONCEPTS - 1)
    captions = [embeds_of(rows, (1.0,) * 4, noise=0) for rows in (contained, other)]
    rows = ~(contained == NUM_CONCEPTS - 1).any(dim=1)
    assert float(forced_choice(embeds, *captions)[rows].mean()) == 0.5


def test_a_probe_of_a_rank_reads_what_is_kept_in_a_direction_of_its_own():
    # The least object lies in another half of the space than the most salient one: one probe for both would blur.
    fit, contained = random_pictures(3000), random_pictures(300, seed=1)

    def embeds(pictures):
        roles = concepts_by_role(pictures)
        return normalize(torch.cat([one_hot(roles[role], NUM_CONCEPTS) for role in ("most", "least")], 1).float())

    scores = probe_scores(embeds(fit), fit, embeds(contained), "least", NUM_CONCEPTS)
    ranks = ranks_among_absent(scores, concepts_by_role(contained)["least"], contained)
    assert (ranks == 1).all()


def test_forced_choice_counts_a_tie_as_half():
    image = normalize(torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]), dim=-1)
    near, far = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert forced_choice(image, torch.cat([near, far, far]), torch.cat([far, near, far])).tolist() == [1, 0, 0.5]


def test_a_concept_that_probes_never_saw_is_refused():
    fit = random_pictures(200).clamp(max=NUM_CONCEPTS - 2)
    contained = torch.tensor([[0, NUM_CONCEPTS - 1, -1, -1]])
    with pytest.raises(ValueError, match="in no picture that the probes learn from"):
        measure_pictures(embeds_of(contained, (1,) * 4), contained, prompts(), embeds_of(fit, (1,) * 4), fit)


def test_means_leave_out_pictures_without_the_object_and_lie_in_their_interval():
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(400, generator=generator).double()
    values[::4] = torch.nan
    found = mean_over_pictures({"recall": values, "zero": torch.zeros(400)}, num_resamples=500)
    kept = values[~values.isnan()]
    assert found["recall"] == pytest.approx(float(kept.mean()))
    reach = 1.96 * float(kept.std()) / len(kept) ** 0.5
    assert found["recall_high"] - found["recall"] == pytest.approx(reach, rel=0.2)
    assert found["recall"] - found["recall_low"] == pytest.approx(reach, rel=0.2)
    assert (found["zero"], found["zero_low"], found["zero_high"]) == (0, 0, 0)
    with pytest.raises(ValueError, match="empty has no value"):
        mean_over_pictures({"empty": torch.full((3,), torch.nan)})


def test_a_paired_difference_is_narrower_than_that_of_two_models_apart():
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(500, generator=generator)
    other = one + 0.1 + 0.1 * torch.randn(500, generator=generator)
    found = mean_over_pictures({"one": one, "difference": other - one})
    assert found["difference_low"] > 0
    assert found["difference_high"] - found["difference_low"] < (found["one_high"] - found["one_low"]) / 5


def test_absent_concepts_are_counted():
    assert num_absent(CONTAINED, 10).tolist() == [8, 7, 6]
