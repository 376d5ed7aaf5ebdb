# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""RecoForZeroShot on saved checkpoints: exactly its base, then refined as the loops say; training and mistakes."""

import pytest
import reference_reco
import torch
from gloo import run_in_processes
from reco_workers import cached_inputs, double_reco, train_steps, train_with_ddp
from reference import rows
from tiny_reco import (
    FAMILIES,
    LABELS,
    SIGLIP_CONTEXT,
    inputs_of,
    memory_for,
    random_memory,
    save_base,
    stir,
    tiny_base,
    tiny_base_processor,
    unit_rows,
)
from torch.nn.functional import normalize, pad

from hf_cloob import RecoConfig, RecoForZeroShot, RecoMemory, encoder_fingerprint


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[str, str]:
    """A saved checkpoint of each kind."""
    folder = tmp_path_factory.mktemp("bases")
    return {family: str(save_base(family, folder)) for family in FAMILIES}


@pytest.fixture
def reco(bases):
    """Build a model on a saved base, its fusion layers as after training unless they shall be new."""

    def build(family: str = "clip", new: bool = False, **fields) -> RecoForZeroShot:
        model = RecoForZeroShot.from_base(bases[family], **({"num_neighbors": 3} | fields))
        return model if new else stir(model)

    return build


def embeds_of(base, inputs: dict) -> tuple[torch.Tensor, torch.Tensor]:
    texts = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    features = base.get_image_features(inputs["pixel_values"]), base.get_text_features(**texts)
    return tuple(normalize(output.pooler_output.detach(), dim=-1) for output in features)


def refined_by_loops(model: RecoForZeroShot, embeds: torch.Tensor, side: str, excluded=None) -> torch.Tensor:
    """Retrieval and fusion of one side, entry by entry in float64."""
    memory, fusion = model.memory, model.image_fusion if side == "image" else model.text_fusion
    keys, values = (memory.image_embeds, memory.text_embeds)[:: 1 if side == "image" else -1]
    refined = []
    for number, query in enumerate(rows(embeds)):
        without = () if excluded is None else (memory.ids.tolist().index(excluded[number]),)
        near = reference_reco.nearest(query, rows(keys), model.config.num_neighbors, without)
        scores = [reference_reco.dot(query, key) for key in rows(keys[near])]
        refined.append(reference_reco.fusion(fusion, query, rows(values[near]), scores))
    return torch.stack(refined)


# -- the base --


@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_memory_it_is_exactly_the_base(family, reco, bases):
    model, base = reco(family), tiny_base(family)
    inputs = inputs_of(family)
    for call, gradients in (({}, False), ({}, True), ({"output_hidden_states": True}, True)):
        with torch.set_grad_enabled(gradients):
            out, expected = model(**inputs, **call), base(**inputs, **call)
        assert torch.equal(out.logits_per_image, expected.logits_per_image)
        assert torch.equal(out.logits_per_text, expected.logits_per_text)
        assert torch.equal(out.image_embeds, expected.image_embeds)
    assert out.text_model_output.hidden_states is not None and out.logits_per_image.std() > 1e-3
    model.set_memory(memory_for(model))
    assert not torch.allclose(model(**inputs).logits_per_image, expected.logits_per_image, atol=1e-2)
    model.set_memory(None)
    assert torch.equal(model(**inputs).logits_per_image, expected.logits_per_image)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_new_models_memory_does_not_change_the_scores_yet(family, reco):
    model, inputs = reco(family, new=True), inputs_of(family)
    expected = model(**inputs).logits_per_image
    model.set_memory(memory_for(model))
    torch.testing.assert_close(model(**inputs).logits_per_image, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_the_base_stays_frozen_and_in_evaluation_mode(family, reco, tmp_path):
    model, inputs = reco(family), inputs_of(family)
    model.set_memory(memory_for(model))
    model.save_pretrained(tmp_path)
    for trained in (model, RecoForZeroShot.from_pretrained(tmp_path, load_memory=False)):
        trained.set_memory(model.memory)
        names = {name.split(".")[0] for name, parameter in trained.named_parameters() if parameter.requires_grad}
        assert names == {"image_fusion", "text_fusion"}
        trained.train()
        assert trained.training and trained.image_fusion.training
        assert not any(module.training for module in trained.base.modules())
        # clip's text tower has dropout.
        assert torch.equal(trained(**inputs).logits_per_image, trained(**inputs).logits_per_image)


# -- refinement --


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("refine_image", "refine_text"), [(True, True), (True, False), (False, True)])
def test_scores_are_those_of_retrieval_and_fusion_by_loops(family, refine_image, refine_text, reco):
    model = reco(family, refine_image=refine_image, refine_text=refine_text)
    inputs = inputs_of(family)
    x, y = embeds_of(model.base, inputs)
    model.set_memory(memory_for(model, ids=torch.arange(40) + 7))
    images = refined_by_loops(model, x, "image") if refine_image else x.double()
    texts = refined_by_loops(model, y, "text") if refine_text else y.double()
    bias = {"siglip": -1.5, "cloob_sigmoid": -10.0}.get(family, 0.0)
    scale = {"siglip": torch.tensor(2.0).exp(), "cloob": 30.0, "cloob_sigmoid": 10.0, "clip": 2.6592}[family]
    scale = torch.tensor(scale).exp() if family == "clip" else scale
    out = model(**inputs)
    expected = scale * images @ texts.T + bias
    torch.testing.assert_close(out.logits_per_image.double(), expected, rtol=0, atol=2e-4)
    assert torch.equal(out.logits_per_text, out.logits_per_image.T)
    # A wrong side, or the base's own embeddings, would be far from this.
    assert (scale * (x.double() @ y.double().T) + bias - expected).abs().max() > 0.3


@pytest.mark.parametrize("family", FAMILIES)
def test_features_are_the_embeddings_that_are_scored(family, reco):
    model, inputs = reco(family), inputs_of(family)
    texts = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    plain = model.get_image_features(inputs["pixel_values"]).pooler_output
    assert torch.equal(plain, model.base.get_image_features(inputs["pixel_values"]).pooler_output)
    model.set_memory(memory_for(model))
    out = model(**inputs)
    torch.testing.assert_close(model.get_image_features(inputs["pixel_values"]).pooler_output, out.image_embeds)
    torch.testing.assert_close(model.get_text_features(**texts).pooler_output, out.text_embeds)
    processor = tiny_base_processor(family)
    torch.testing.assert_close(model.encode_texts(LABELS, processor), out.text_embeds, rtol=0, atol=1e-5)


def test_both_sides_may_be_switched_at_any_time(reco):
    model, inputs = reco(), inputs_of("clip")
    model.set_memory(memory_for(model))
    both = model(**inputs)
    model.config.refine_image = False
    one = model(**inputs)
    assert torch.equal(one.text_embeds, both.text_embeds) and not torch.allclose(one.image_embeds, both.image_embeds)
    model.config.refine_text = False
    torch.testing.assert_close(model(**inputs).logits_per_image, model.base(**inputs).logits_per_image)


def test_neighbors_are_returned_and_excluded_entries_are_not_among_them(reco):
    model, inputs = reco(), inputs_of("clip", images=4)
    model.set_memory(memory_for(model))
    out = model(**inputs, return_neighbors=True)
    x, y = embeds_of(model.base, inputs)
    for found, expected in (
        (out.image_neighbors, model.memory.retrieve_for_images(x, 3)),
        (out.text_neighbors, model.memory.retrieve_for_texts(y, 3)),
    ):
        assert torch.equal(found.ids, expected.ids) and torch.equal(found.embeds, expected.embeds)
    assert model(**inputs).image_neighbors is None
    exclude = out.image_neighbors.ids[:, :1]
    without = model(**inputs, exclude_ids=exclude, return_neighbors=True)
    assert not (without.image_neighbors.ids == exclude).any() and not (without.text_neighbors.ids == exclude).any()
    torch.testing.assert_close(
        without.image_embeds.double(),
        refined_by_loops(model, x, "image", exclude.flatten().tolist()),
        atol=1e-5,
        rtol=0,
    )


def test_a_memory_smaller_than_k_is_used_with_a_mask(reco):
    model, inputs = reco(num_neighbors=10), inputs_of("clip")
    model.set_memory(memory_for(model, 4))
    x, _ = embeds_of(model.base, inputs)
    expected = refined_by_loops(model, x, "image")
    torch.testing.assert_close(model(**inputs).image_embeds.double(), expected, rtol=0, atol=1e-5)


def test_without_neighbors_the_fusion_layers_still_refine(reco):
    model, inputs = reco(num_neighbors=0), inputs_of("clip")
    model.set_memory(memory_for(model))
    x, _ = embeds_of(model.base, inputs)
    out = model(**inputs, return_neighbors=True)
    assert out.image_neighbors.embeds.shape == (3, 0, 16)
    torch.testing.assert_close(out.image_embeds.double(), refined_by_loops(model, x, "image"), rtol=0, atol=1e-5)


def test_siglips_texts_are_padded_as_it_was_trained_whatever_the_pipeline_pads_to(reco):
    model, inputs = reco("siglip"), inputs_of("siglip")
    model.set_memory(memory_for(model))
    expected = model(**inputs).logits_per_image
    short = tiny_base_processor("siglip").tokenizer(LABELS, return_tensors="pt", padding=True)
    assert short["input_ids"].shape[1] < SIGLIP_CONTEXT
    out = model(**short, pixel_values=inputs["pixel_values"])
    torch.testing.assert_close(out.logits_per_image, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_casts_touch_neither_the_memory_nor_its_search(dtype, reco, tmp_path):
    model, inputs = reco(), inputs_of("clip")
    memory = memory_for(model)
    model.set_memory(memory)
    expected = model(**inputs, return_neighbors=True)
    model.save_pretrained(tmp_path, save_memory=True)
    loaded = RecoForZeroShot.from_pretrained(tmp_path, dtype=dtype)
    inputs["pixel_values"] = inputs["pixel_values"].to(dtype)
    for half in (model.to(dtype), loaded):
        assert half.dtype == dtype and half.memory.dtype == torch.float16
        out = half(**inputs)
        assert out.image_embeds.dtype == torch.float32
        torch.testing.assert_close(out.image_embeds, expected.image_embeds, rtol=0, atol=0.1)
    assert torch.equal(loaded.memory.image_embeds, memory.image_embeds)


def test_an_entry_added_is_used_at_once_and_removing_it_restores_the_scores_bit_for_bit(reco):
    model, inputs = reco(), inputs_of("clip")
    x, _ = embeds_of(model.base, inputs)
    model.set_memory(memory_for(model))
    before = model(**inputs).logits_per_image
    ids = model.memory.add(x[:1], unit_rows(1, 16, 77), captions=["a new thing"])
    out = model(**inputs, return_neighbors=True)
    assert model.memory.captions_of(out.image_neighbors.ids[0, :1]) == ["a new thing"]
    assert not torch.allclose(out.logits_per_image[0], before[0], atol=1e-3)
    model.memory.remove(ids)
    assert torch.equal(model(**inputs).logits_per_image, before)


# -- training --


def test_the_loss_of_cached_neighbors_is_the_loops_and_its_gradients_too():
    model, inputs = double_reco(), cached_inputs(4)
    out = model(**inputs, return_loss=True)
    refined = []
    for side, fusion in (("image", model.image_fusion), ("text", model.text_fusion)):
        found = [[row for row in rows(near) if row.any()] for near in inputs[f"{side}_neighbor_embeds"]]
        scores = [[score for score in near if score.isfinite()] for near in inputs[f"{side}_neighbor_scores"]]
        queries = zip(rows(inputs[f"{side}_embeds"]), found, scores, strict=True)
        refined.append([reference_reco.fusion(fusion, query, *near) for query, *near in queries])
    x, y = rows(inputs["image_embeds"]), rows(inputs["text_embeds"])
    expected = reference_reco.reco(x, y, *refined, model.base.logit_scale.double().exp())
    torch.testing.assert_close(out.loss, expected, rtol=1e-12, atol=0)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    ours, theirs = torch.autograd.grad(out.loss, trained), torch.autograd.grad(expected, trained)
    for first, second in zip(ours, theirs, strict=True):
        assert second.abs().max() > 0
        torch.testing.assert_close(first, second, rtol=1e-9, atol=1e-12)
    parts = out.refined_loss + out.refined_image_loss + out.refined_text_loss
    torch.testing.assert_close(out.loss.detach(), parts)


@pytest.mark.parametrize("family", FAMILIES)
def test_training_with_a_live_memory_equals_training_on_the_cache(family, reco):
    model, inputs = reco(family).train(), inputs_of(family, images=4)
    x, y = embeds_of(model.base, inputs)
    model.set_memory(memory_for(model))
    exclude = torch.tensor([[3, 4], [5, -1], [-1, -1], [0, 1]])
    live = model(**inputs, exclude_ids=exclude, return_loss=True)
    found = model.memory.retrieve_for_images(x, 3, exclude), model.memory.retrieve_for_texts(y, 3, exclude)
    cached = {"image_neighbor_embeds": found[0].embeds, "text_neighbor_embeds": found[1].embeds}
    model.set_memory(None)
    # The cache is kept in half precision, as the memory is.
    cached = {name: embeds.half() for name, embeds in cached.items()}
    cached |= {"image_neighbor_scores": found[0].scores, "text_neighbor_scores": found[1].scores}
    out = model(image_embeds=x, text_embeds=y, **cached, return_loss=True)
    torch.testing.assert_close(out.loss, live.loss)
    torch.testing.assert_close(out.logits_per_image, live.logits_per_image)
    gradients = [torch.autograd.grad(loss, model.image_fusion.fc1.weight)[0] for loss in (out.loss, live.loss)]
    torch.testing.assert_close(*gradients)
    half = model(image_embeds=x.half(), text_embeds=y.half(), **cached, return_loss=True)
    torch.testing.assert_close(half.loss, out.loss, rtol=0, atol=0.02)
    # All three terms whatever is refined at inference.
    model.config.refine_image = False
    one_sided = model(image_embeds=x, text_embeds=y, **cached, return_loss=True)
    torch.testing.assert_close(one_sided.loss, out.loss)
    assert torch.equal(one_sided.image_embeds, x)
    assert model(image_embeds=x.half(), text_embeds=y.half(), **cached).logits_per_image.dtype == torch.float32


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("sizes", [[3, 3], [4, 2]])
def test_two_processes_train_as_one_on_the_joined_batch(sizes, live):
    model = double_reco()
    inputs = cached_inputs(sum(sizes))
    if live:
        inputs = {name: inputs[name] for name in ("image_embeds", "text_embeds")}
        inputs["exclude_ids"] = torch.arange(sum(sizes))
        model.set_memory(random_memory())
    expected = train_steps(model, model, inputs)
    for records in run_in_processes(train_with_ddp, 2, sizes, live):
        for (loss, gradients), (expected_loss, expected_gradients) in zip(records, expected, strict=True):
            torch.testing.assert_close(loss, expected_loss, rtol=1e-9, atol=1e-12)
            for name, gradient in expected_gradients.items():
                torch.testing.assert_close(gradients[name], gradient, rtol=1e-7, atol=1e-10)


def toy_world(classes: int, seed: int) -> dict[str, torch.Tensor]:
    """Names that tell nothing about the pictures: only a memory of both can connect them."""
    centers, names = unit_rows(classes, 16, seed), unit_rows(classes, 16, seed + 1)

    def noisy(rows: torch.Tensor, number: int) -> torch.Tensor:
        return normalize(rows + 0.3 * unit_rows(len(rows), 16, seed + number), dim=1)

    memory = RecoMemory(noisy(centers, 2), noisy(names, 3))
    return {"image_embeds": noisy(centers, 4), "text_embeds": names, "memory": memory}


def accuracy(model: RecoForZeroShot, world: dict) -> float:
    model.set_memory(world["memory"])
    with torch.no_grad():
        scores = model.eval()(image_embeds=world["image_embeds"], text_embeds=world["text_embeds"]).logits_per_image
    return (scores.argmax(dim=1) == torch.arange(len(scores))).float().mean().item()


def test_a_trained_model_recognizes_entities_it_never_saw_through_the_memory_alone():
    base = tiny_base("clip")
    model = RecoForZeroShot(RecoConfig(base_config=base.config, num_neighbors=1), base)
    train, unseen = toy_world(256, 100), toy_world(64, 200)
    assert accuracy(model, unseen) < 0.1
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    found = {
        "image_neighbor_embeds": train["memory"].retrieve_for_images(train["image_embeds"], 1).embeds,
        "text_neighbor_embeds": train["memory"].retrieve_for_texts(train["text_embeds"], 1).embeds,
    }
    batch = {name: train[name] for name in ("image_embeds", "text_embeds")} | found
    model.set_memory(None)
    for _ in range(60):
        model.train()(**batch, return_loss=True).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    right = accuracy(model, unseen)
    model.config.refine_image = False
    text_only = accuracy(model, unseen)
    model.config.refine_image, model.config.refine_text = True, False
    image_only = accuracy(model, unseen)
    model.config.refine_text = True
    # The same entries with keys and values mixed up.
    memory = unseen["memory"]
    swapped = accuracy(model, unseen | {"memory": RecoMemory(memory.text_embeds, memory.image_embeds)})
    shifted = accuracy(model, unseen | {"memory": RecoMemory(memory.image_embeds, memory.text_embeds.roll(1, 0))})
    assert min(right, text_only, image_only) > 0.6 and max(swapped, shifted) < 0.2


# -- mistakes --


def test_the_memory_of_another_encoder_or_width_is_refused(reco):
    model = reco("cloob")
    memory_for(model, fingerprint=encoder_fingerprint(model.base))
    with pytest.raises(ValueError, match="made by another encoder"):
        model.set_memory(memory_for(model, fingerprint=encoder_fingerprint(tiny_base("cloob", seed=1))))
    with pytest.raises(ValueError, match="memory's embeddings have 32 dimensions, those of this model 16"):
        model.set_memory(random_memory(40, 32))
    with pytest.raises(ValueError, match="takes a RecoMemory or None, got a Tensor"):
        model.set_memory(torch.ones(3))
    assert model.memory is None
    from_config = RecoForZeroShot(model.config)
    from_config.config.memory_fingerprint = None
    with pytest.raises(ValueError, match="made by another encoder"):
        from_config.set_memory(memory_for(model, fingerprint="abc"))


@pytest.mark.parametrize(
    ("with_memory", "call", "message"),
    [
        (False, {"return_loss": True}, "The loss needs neighbors: set_memory first and pass exclude_ids"),
        (True, {"return_loss": True}, "with a memory needs exclude_ids.*would find the answer"),
        (False, {"return_neighbors": True}, "return_neighbors needs a memory"),
        (False, {"exclude_ids": torch.arange(4)}, "exclude_ids needs a memory"),
        (True, {"exclude_ids": torch.arange(3)}, r"exclude_ids must have the shape \(4,\)"),
        (True, {"exclude_ids": torch.arange(4) + 50}, "4 of 4 ids are not in the memory"),
        (True, {"pixel_values": None}, "pixel_values is missing"),
        (True, {"input_ids": None}, "input_ids is missing"),
        (True, {"text_neighbor_embeds": torch.zeros(3, 2, 16)}, r"got \(4, 16\) and \(3, 2, 16\)"),
    ],
)
def test_a_call_whose_answer_would_be_wrong_is_refused(with_memory, call, message, reco):
    model = reco()
    if with_memory:
        model.set_memory(memory_for(model))
    with pytest.raises(ValueError, match=message):
        model(**inputs_of("clip", images=4) | call)


def test_outputs_come_as_a_tuple_when_asked_for(reco):
    model, inputs = reco(), inputs_of("clip")
    model.set_memory(memory_for(model))
    out, values = model(**inputs), model(**inputs, return_dict=False)
    assert isinstance(values, tuple) and torch.equal(values[0], out.logits_per_image)
    assert isinstance(model.get_image_features(inputs["pixel_values"], return_dict=False), tuple)


def test_padding_more_than_needed_changes_no_score(reco):
    model, inputs = reco(), inputs_of("clip")
    model.set_memory(memory_for(model))
    expected = model(**inputs).logits_per_image
    for name, value in (("input_ids", model.config.text_config.pad_token_id), ("attention_mask", 0)):
        inputs[name] = pad(inputs[name], (0, 5), value=value)
    torch.testing.assert_close(model(**inputs).logits_per_image, expected)
