# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The pictures of evaluate.py: what single pictures are taken for, which classes are confused, retrieval both ways."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

SHEET_PICTURES, SHEET_NAMES = 12, 5
IMAGE_QUERIES, TEXT_QUERIES = 6, 6
CONFUSED_CLASSES = 16
NAMES = ("contact_sheet.png", "confusion.png", "retrieval.png", "geometry.png", "geometry.html", "arithmetic.png")
# The confusion of all classes is a square matrix: this many take 100 MB.
MOST_CLASSES = 5_000
# The scale of models without a logit_scale: CLIP's largest.
DEFAULT_SCALE = 100.0

Pictures = dict[str, Callable[[Path], Path]]


def classification_pictures(
    model, image_embeds, class_embeds, targets, class_names: Sequence[str], images: Sequence, title: str
) -> Pictures:
    """A contact sheet of random pictures and the confusion of the most confused classes.

    Probabilities are the stock pipeline's: a softmax over the classes, at the model's scale.
    """
    scale = model.logit_scale.detach().exp().item() if hasattr(model, "logit_scale") else DEFAULT_SCALE
    names = list(class_names)

    def sheet(path: Path) -> Path:
        from hf_cloob.evaluation.contact_sheet import contact_sheet

        rows = _some(len(targets), SHEET_PICTURES)
        scores, found = (scale * image_embeds[rows] @ class_embeds.T).softmax(dim=-1).sort(descending=True)
        scores, found = scores[:, :SHEET_NAMES].tolist(), found[:, :SHEET_NAMES].tolist()
        return contact_sheet(
            [images[row] for row in rows],
            [names[targets[row]] for row in rows],
            [[names[index] for index in indices] for indices in found],
            scores,
            path,
            title=f"{title}: zero-shot among {len(names):,} names",
        )

    def confusion(path: Path) -> Path:
        from hf_cloob.evaluation.confusion_pairs import confusion_pairs, mean_confusion, most_confused_classes

        probabilities = (scale * image_embeds @ class_embeds.T).softmax(dim=-1)
        first_rows = {target: row for row, target in reversed(list(enumerate(targets.tolist())))}
        shown = most_confused_classes(mean_confusion(probabilities, targets), CONFUSED_CLASSES)
        examples = {target: images[first_rows[target]] for target in shown}
        headline = f"{title}: the classes that are confused most"
        return confusion_pairs(probabilities, targets, names, path, headline, CONFUSED_CLASSES, examples)

    pictures: Pictures = {"contact_sheet.png": sheet}
    return pictures | {"confusion.png": confusion} if len(names) <= MOST_CLASSES else pictures


def retrieval_pictures(image_embeds, text_embeds, owners, images: Sequence, texts: list[str], title: str) -> Pictures:
    """The texts that random pictures find, and the pictures that random texts find."""

    def sheet(path: Path) -> Path:
        from hf_cloob.evaluation.retrieval_sheet import retrieval_sheet

        queries = _some(len(images), IMAGE_QUERIES), _some(len(texts), TEXT_QUERIES)
        return retrieval_sheet(images, texts, image_embeds, text_embeds, owners, path, title, *queries)

    return {"retrieval.png": sheet}


def draw_pictures(pictures: Pictures, output_dir: Path) -> list[str]:
    """Draw what can be drawn into a folder and say why the rest cannot; returns the names of the files written."""
    for name in NAMES:
        # Those of an earlier evaluation into the same folder would pass for this one's.
        (output_dir / name).unlink(missing_ok=True)
    drawn = []
    for name, draw in pictures.items():
        try:
            draw(output_dir / name)
        except (ImportError, ValueError) as error:
            # The figures are written: a picture, or a package that draws it, is no reason to fail.
            print(f"No {name}: {error}")
        else:
            drawn.append(name)
    return drawn


def _some(length: int, number: int) -> list[int]:
    """The same random rows whenever there are as many to choose from."""
    return sorted(random.Random(0).sample(range(length), min(number, length)))
