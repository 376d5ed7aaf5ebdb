# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""SIMAT's own files and score: arithmetic on crops of Visual Genome (Couairon et al. 2022, arXiv 2112.03162).

Files of github.com/facebookresearch/SIMAT (MIT), folder `simat_db`:
    triplets.csv   region_id, subj, rel, obj, dataset_id: the images; dataset_id is an image's row
    transfos.csv   (unnamed), transfo_id, region_id, field, value, target, norm, query_ids, target_ids, dataset_id,
                   norm2, is_test: the questions. `value` and `target` are the words, `target_ids` counts the captions
                   of captions.txt from 0, norm2 weighs. Its dataset_id does not agree with that of triplets.csv and
                   is not read; neither is it by the authors' evaluation.
    images/images/{region_id}.png   what the authors' prepare_dataset.py crops out of Visual Genome
    oscar_similarity_matrix.pt      the judge's scores, (num_images, num_captions)
Columns, order and formulas were read in that repository. Not verified here: the judge's file, which is not among the
stored ones, and scores on the images themselves.

The judge is OSCAR: a found image is right when the judge gives the wanted caption more than 0.5.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from .arithmetic import arithmetic_queries
from .ranking import check_embeds, check_same_dim

IMAGE_FOLDER = "images/images"
PARTS = ("subj", "rel", "obj")
JUDGED_RIGHT = 0.5


@dataclass(frozen=True)
class Simat:
    """The images and the questions of one domain.

    Attributes:
        image_paths: num_images files, in the order of the judge's rows.
        annotations: num_images triples of subject, relation and object.
        words: num_texts words and phrases to embed, sorted.
        source_images: (num_questions,) int64, rows of the images.
        source_texts, target_texts: (num_questions,) int64, rows of the words: what is there, what is wanted.
        wanted: num_questions triples, the source's annotation with one part replaced.
        target_captions: (num_questions,) int64, the judge's columns.
        weights: (num_questions,) float64, their sum is 1.
        parts: what each question changes: "subj", "rel" or "obj".
    """

    image_paths: list[Path]
    annotations: list[tuple[str, str, str]]
    words: list[str]
    source_images: torch.Tensor
    source_texts: torch.Tensor
    target_texts: torch.Tensor
    wanted: list[tuple[str, str, str]]
    target_captions: torch.Tensor
    weights: torch.Tensor
    parts: list[str]


def load_simat(folder: str | Path, domain: Literal["dev", "test"] = "test") -> Simat:
    """Reads SIMAT's tables; images are named, not opened.

    weight_i = norm2_i^(−1/2) / Σ_j norm2_j^(−1/2)

    Args:
        folder: `simat_db`, with triplets.csv and transfos.csv.
        domain: "dev" to choose lambda, "test" to report.

    Raises:
        ValueError: an unknown domain, a file or column that is not there, a value that does not read, images not
            numbered 0 to num_images − 1, a question about an image that is not there, no question.
    """
    if domain not in ("dev", "test"):
        raise ValueError(f"domain must be 'dev' or 'test'; got {domain!r}.")
    folder = Path(folder)
    triplets = _read_table(folder / "triplets.csv", ("region_id", *PARTS, "dataset_id"))
    columns = ("region_id", "field", "value", "target", "target_ids", "norm2", "is_test")
    questions = _read_table(folder / "transfos.csv", columns)
    questions = [row for row in questions if (row["is_test"] == "True") == (domain == "test")]
    if not questions:
        raise ValueError(f"{folder / 'transfos.csv'} has no question of domain {domain!r}.")
    images = sorted(triplets, key=lambda row: _number(row, "dataset_id", "triplets.csv"))
    if [int(row["dataset_id"]) for row in images] != list(range(len(images))):
        raise ValueError(f"the dataset_id of {folder / 'triplets.csv'} must count its {len(images)} images from 0.")
    row_of = {row["region_id"]: place for place, row in enumerate(images)}
    annotations = [tuple(row[part] for part in PARTS) for row in images]
    words = sorted({row[column] for row in questions for column in ("value", "target")})
    text_of = {word: place for place, word in enumerate(words)}
    for row in questions:
        if row["region_id"] not in row_of:
            raise ValueError(f"transfos.csv asks about region {row['region_id']}, which triplets.csv does not have.")
        if row["field"] not in PARTS:
            raise ValueError(f"transfos.csv changes the field {row['field']!r}; fields are {', '.join(PARTS)}.")
    sources = [row_of[row["region_id"]] for row in questions]
    weights = torch.tensor([_number(row, "norm2", "transfos.csv") for row in questions]).double().rsqrt()
    return Simat(
        image_paths=[folder / IMAGE_FOLDER / f"{row['region_id']}.png" for row in images],
        annotations=annotations,
        words=words,
        source_images=torch.tensor(sources),
        source_texts=torch.tensor([text_of[row["value"]] for row in questions]),
        target_texts=torch.tensor([text_of[row["target"]] for row in questions]),
        wanted=[
            tuple(row["target"] if part == row["field"] else kept for part, kept in zip(PARTS, own, strict=True))
            for row, own in zip(questions, (annotations[source] for source in sources), strict=True)
        ],
        target_captions=torch.tensor([_number(row, "target_ids", "transfos.csv") for row in questions]),
        weights=weights / weights.sum(),
        parts=[row["field"] for row in questions],
    )


def simat_found(
    image_embeds: torch.Tensor, text_embeds: torch.Tensor, simat: Simat, scale: float = 1.0
) -> torch.Tensor:
    """The nearest image of every question that is not its source.

    Args:
        image_embeds: (num_images, projection_dim), rows L2-normalized, in the order of `simat.image_paths`.
        text_embeds: (num_texts, projection_dim), rows L2-normalized, in the order of `simat.words`.
        simat: the questions.
        scale: lambda, 1 in the paper's plain form.

    Returns:
        (num_questions,) int64, rows of the images.

    Raises:
        ValueError: embeddings that are not normalized or not as many as images and words.
    """
    image_embeds, text_embeds = check_embeds("image_embeds", image_embeds), check_embeds("text_embeds", text_embeds)
    check_same_dim(image_embeds=image_embeds, text_embeds=text_embeds)
    if (len(image_embeds), len(text_embeds)) != (len(simat.image_paths), len(simat.words)):
        raise ValueError(
            f"got {len(image_embeds)} image_embeds and {len(text_embeds)} text_embeds for {len(simat.image_paths)} "
            f"images and {len(simat.words)} words."
        )
    texts = text_embeds[simat.source_texts], text_embeds[simat.target_texts]
    queries = arithmetic_queries(image_embeds[simat.source_images], *texts, scale)
    scores = queries @ image_embeds.T
    return scores.scatter_(1, simat.source_images[:, None], -torch.inf).argmax(dim=1)


def simat_score(found: torch.Tensor, simat: Simat, judgments: torch.Tensor) -> float:
    """SIMAT's score: Σ_i weight_i · [judgments(found_i, caption_i) > 0.5], from 0 to 1 (the authors print percent).

    Args:
        found: (num_questions,) int64, see `simat_found`.
        simat: the questions.
        judgments: (num_images, num_captions), the judge's scores.

    Raises:
        ValueError: judgments of other images or with too few captions.
    """
    if judgments.ndim != 2 or len(judgments) != len(simat.image_paths):
        raise ValueError(f"judgments must have {len(simat.image_paths)} rows; got shape {tuple(judgments.shape)}.")
    if judgments.shape[1] <= (last := int(simat.target_captions.max())):
        raise ValueError(f"judgments has {judgments.shape[1]} captions; a question wants caption {last}.")
    right = judgments[found, simat.target_captions] > JUDGED_RIGHT
    return float((simat.weights * right).sum())


def simat_annotation_score(found: torch.Tensor, simat: Simat) -> float:
    """The score without a judge (ours, not SIMAT's): right is an image whose annotation is the wanted triple.

    A lower bound: an image of another annotation may show what is wanted as well.
    """
    right = [simat.annotations[place] == wanted for place, wanted in zip(found.tolist(), simat.wanted, strict=True)]
    return float((simat.weights * torch.tensor(right)).sum())


def _read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} does not read as a table: {error}") from error
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    if missing:
        raise ValueError(f"{path} has no column {' and no '.join(missing)}; it has {reader.fieldnames}.")
    return rows


def _number(row: dict[str, str], column: str, file: str) -> int:
    try:
        return int(row[column])
    except (TypeError, ValueError):
        raise ValueError(
            f"{file}: {column} of region {row['region_id']} is {row[column]!r}, no whole number."
        ) from None
