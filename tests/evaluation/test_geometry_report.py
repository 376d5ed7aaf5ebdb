# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The report on any dual encoder: figures are those of the model's own embeddings, centers come from other pairs."""

import io
import logging

import pytest
import torch
from datasets import Dataset, Features, List, Value
from datasets import Image as ImageFeature
from PIL import Image
from torch.nn.functional import normalize
from transformers import AutoModel, AutoProcessor

import hf_cloob
from hf_cloob.evaluation.cached_encoder import CachedEncoder
from hf_cloob.evaluation.geometry_metrics import geometry_metrics
from hf_cloob.evaluation.geometry_report import (
    encode_pairs,
    geometry_report,
    inverse_temperature_of,
    measure_geometry,
    split_off_calibration,
    with_interval,
)
from tests.tiny_reco import save_base

WORDS = ("red", "blue", "tall", "small", "old", "new", "wet", "dry")


# Noise differs from call to call.
PICTURES = [Image.effect_noise((20, 20), 20 + 7 * number).convert("RGB") for number in range(30)]


def dataset(length: int = 30, broken: tuple[int, ...] = (), silent: tuple[int, ...] = ()) -> Dataset:
    rows = []
    for number in range(length):
        data = io.BytesIO()
        PICTURES[number].save(data, format="PNG")
        rows.append({"bytes": b"broken" if number in broken else data.getvalue(), "path": None})
    captions = [[f"a {WORDS[number % 8]} house {number}", f"number {number}"] for number in range(length)]
    captions = [[" "] if number in silent else own for number, own in enumerate(captions)]
    features = Features(image=ImageFeature(), caption=List(Value("string")))
    return Dataset.from_dict({"image": rows, "caption": captions}, features)


def pairs(length: int, seed: int = 0, gap: float = 0.8) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs around two centers on either side of 0."""
    generator = torch.Generator().manual_seed(seed)
    common, *noise = torch.randn(3, length, 8, generator=generator)
    shift = gap * torch.nn.functional.one_hot(torch.tensor(2), 8)
    images, texts = (normalize(common + side, dim=-1) for side in noise)
    return normalize(images + shift, dim=-1), normalize(texts - shift, dim=-1)


@pytest.mark.parametrize("family", ["clip", "siglip", "cloob"])
def test_one_line_measures_any_dual_encoder(family, tmp_path):
    folder = save_base(family, tmp_path)
    measured, calibration = dataset(), dataset(10).map(lambda row: {"caption": [row["caption"][1]]})
    report = hf_cloob.geometry_report(folder, measured, calibration, show_progress=False)
    assert report.name == family
    model, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    encoder = CachedEncoder(model)
    images, texts = encode_pairs(encoder, processor, measured)
    expected = geometry_metrics(images, texts)
    assert {name: report.metrics[name] for name in expected} == expected
    offsets = [embeds.mean(dim=0) for embeds in encode_pairs(encoder, processor, calibration)]
    centered = (normalize(embeds - offset, dim=-1) for embeds, offset in zip((images, texts), offsets, strict=True))
    assert report.metrics["centered_matched_cosine"] == pytest.approx(
        geometry_metrics(*centered)["matched_cosine"], abs=1e-5
    )
    assert (report.metrics["num_pairs"], report.metrics["num_calibration_pairs"]) == (30, 10)
    assert report.metrics["inverse_temperature"] == pytest.approx(model.logit_scale.exp().item())


def test_without_calibration_pairs_a_random_fifth_is_taken_away():
    measured, calibration = split_off_calibration(dataset(30), seed=1)
    first = {captions[0] for captions in measured["caption"]}
    second = {captions[0] for captions in calibration["caption"]}
    assert (len(first), len(second)) == (24, 6) and not first & second
    again = split_off_calibration(dataset(30), seed=1)[1]
    assert again["caption"][:] == calibration["caption"][:]
    with pytest.raises(ValueError, match="4 pairs is too small"):
        split_off_calibration(dataset(4))


def test_the_default_calibration_is_part_of_the_report(tmp_path):
    report = geometry_report(save_base("clip", tmp_path), dataset(30), show_progress=False)
    assert (report.metrics["num_pairs"], report.metrics["num_calibration_pairs"]) == (24, 6)


def test_first_captions_make_the_pairs_and_broken_rows_are_left_out_and_counted(tmp_path, caplog):
    folder = save_base("clip", tmp_path)
    encoder, processor = CachedEncoder(AutoModel.from_pretrained(folder)), AutoProcessor.from_pretrained(folder)
    with caplog.at_level(logging.WARNING, logger="hf_cloob"):
        images, texts = encode_pairs(encoder, processor, dataset(12, broken=(2, 7), silent=(0, 7)))
    assert "2 of 12 rows left out: no caption." in caplog.text and "1 images left out" in caplog.text
    kept = [number for number in range(12) if number not in (0, 2, 7)]
    expected = encoder.encode_texts([f"a {WORDS[number % 8]} house {number}" for number in kept], processor)
    torch.testing.assert_close(texts, expected)
    torch.testing.assert_close(images, encoder.encode_images([PICTURES[number] for number in kept], processor))
    strings = dataset(12).map(lambda row: {"name": row["caption"][0]})
    torch.testing.assert_close(encode_pairs(encoder, processor, strings, "image", "name")[1][kept], expected)
    with pytest.raises(ValueError, match="no column 'captions'"):
        encode_pairs(encoder, processor, strings, "image", "captions")
    with pytest.raises(ValueError, match="No row has a caption"):
        encode_pairs(encoder, processor, dataset(3, silent=(0, 1, 2)))


def test_centering_closes_the_gap_of_pairs_it_was_not_fitted_to():
    report = measure_geometry("random", *pairs(400), *pairs(400, seed=1))
    metrics = report.metrics
    assert metrics["modality_gap"] > 0.9 and metrics["linear_separability"] > 0.9
    assert metrics["centered_modality_gap"] < 0.2 and metrics["centered_linear_separability"] < 0.65
    assert metrics["centered_image_to_text_recall@1"] >= metrics["image_to_text_recall@1"]


def test_the_picture_parts_are_those_of_the_embeddings():
    report = measure_geometry("random", *pairs(60), *pairs(40, seed=1), inverse_temperature=7.0)
    assert sum(report.image_spectrum) == pytest.approx(1) and len(report.text_spectrum) == 8
    assert set(report.planes) == {"principal", "gap", "centered_gap"}
    assert set(report.cosines) == {"matched", "mismatched", "centered_matched", "centered_mismatched"}
    own = report.curve.shifts.index(0.0)
    recalls = [report.metrics[f"{way}_recall@1"] for way in ("image_to_text", "text_to_image")]
    assert report.curve.recalls[own] == pytest.approx(sum(recalls) / 2)
    assert report.metrics["inverse_temperature"] == 7.0


def test_a_collapsed_modality_is_reported_as_trained_only(caplog):
    images, texts = torch.eye(8)[[0] * 30], pairs(30)[1]
    with caplog.at_level(logging.WARNING, logger="hf_cloob"):
        report = measure_geometry("collapsed", images, texts, images[:9], texts[:9])
    assert "images have collapsed to one point" in caplog.text
    assert report.metrics["image_uniformity"] == pytest.approx(0, abs=1e-6)
    assert report.metrics["image_effective_rank"] == 0
    assert not [name for name in report.metrics if name.startswith("centered_")]
    assert "centered_gap" not in report.planes


def test_a_report_prints_as_a_table_with_intervals():
    report = measure_geometry("random", *pairs(60), *pairs(40, seed=1))
    lines = str(report).splitlines()
    assert lines[0] == "random: 60 pairs, 95 % intervals"
    row = next(line for line in lines if line.startswith("modality_gap"))
    assert f"{report.metrics['modality_gap']:.3f} [" in row and row.count("[") == 2
    assert max(map(len, lines)) < 100


def test_figures_are_written_with_their_intervals():
    metrics = {"a": -0.0001, "a_low": -0.2, "a_high": 0.2, "b": 7, "b_low": 6, "b_high": 8}
    assert with_interval(metrics, "a") == "0.000 [-0.200, 0.200]"
    assert with_interval(metrics, "b") == "7 [6, 8]"
    assert with_interval(metrics, "c") == "-"


def test_several_splits_at_once_are_refused():
    with pytest.raises(ValueError, match=r"one split; got a dictionary of the splits \['train', 'test'\]"):
        geometry_report("any model", {"train": dataset(3), "test": dataset(3)})


def test_a_model_without_a_scale_gets_clips_largest():
    assert inverse_temperature_of(torch.nn.Linear(2, 2)) == 100
