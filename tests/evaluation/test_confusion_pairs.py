# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The confusion matrix of the most confused classes equals scikit-learn's, and its picture shows who is confused."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix

from hf_cloob.evaluation.confusion_pairs import confusion_pairs, mean_confusion, most_confused_classes

GREEN, ORANGE = (46, 139, 87), (217, 119, 6)


def pixels(path, color) -> int:
    return int((np.asarray(Image.open(path).convert("RGB")) == color).all(axis=-1).sum())


def sure(predictions, num_classes) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.as_tensor(predictions), num_classes).float()


def test_sure_predictions_give_the_normalized_confusion_matrix_of_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 7, (200,), generator=generator)
    predictions = torch.randint(0, 7, (200,), generator=generator)
    expected = confusion_matrix(targets, predictions, labels=range(7), normalize="true")
    assert mean_confusion(sure(predictions, 7), targets).numpy() == pytest.approx(expected)


def test_a_row_is_the_mean_probability_of_the_pictures_of_its_class():
    probabilities = torch.tensor([[0.8, 0.2, 0.0], [0.4, 0.0, 0.6], [0.1, 0.9, 0.0]])
    confusion = mean_confusion(probabilities, torch.tensor([0, 0, 1]))
    expected = torch.tensor([[0.6, 0.1, 0.3], [0.1, 0.9, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(confusion, expected)


def test_classes_are_picked_by_the_confusion_of_pairs_and_stand_beside_their_partner():
    confusion = torch.eye(8) * 0.5
    for a, b, value in ((0, 5, 0.4), (5, 0, 0.3), (2, 7, 0.5), (7, 4, 0.45), (1, 3, 0.1)):
        confusion[a, b] = value
    picked = most_confused_classes(confusion, 5)
    assert picked == [0, 5, 2, 7, 4]
    assert most_confused_classes(confusion, 8) == [0, 5, 2, 7, 4, 1, 3]


def test_an_odd_number_of_classes_is_filled_with_a_partner_of_a_picked_one():
    confusion = torch.eye(6) * 0.3
    confusion[0, 1], confusion[2, 3], confusion[4, 1] = 0.7, 0.6, 0.2
    assert most_confused_classes(confusion, 3) == [0, 1, 4]


def test_classes_without_pictures_are_not_picked():
    confusion = torch.tensor([[0.1, 0.9, 0.0], [0.0, 0.0, 0.0], [0.0, 0.2, 0.8]])
    assert most_confused_classes(confusion, 3) == []


def test_right_cells_are_green_and_confusions_orange(tmp_path):
    names = ["cat", "dog", "sun", "$moon$"]
    targets = torch.tensor([0, 1, 2, 3])
    swapped = confusion_pairs(sure([1, 0, 2, 3], 4), targets, names, tmp_path / "new" / "a.png", "Swapped")
    assert pixels(swapped, ORANGE) > 1000 and pixels(swapped, GREEN) == 0
    half = confusion_pairs(sure([1, 1, 2, 3], 4), targets, names, tmp_path / "b.png", "Half")
    assert pixels(half, GREEN) == pytest.approx(pixels(half, ORANGE), rel=0.2)


def test_example_pictures_stand_at_rows_and_columns(tmp_path):
    images = {index: Image.new("RGB", (32, 32), (200, 30, 30)) for index in range(2)}
    arguments = sure([1, 0], 2), torch.tensor([0, 1]), ["cat", "dog"]
    path = confusion_pairs(*arguments, tmp_path / "a.png", "Pictures", example_images=images)
    side = (0.36 * 110) ** 2
    assert pixels(path, (200, 30, 30)) == pytest.approx(4 * side, rel=0.1)
    assert pixels(confusion_pairs(*arguments, tmp_path / "b.png", "Names"), (200, 30, 30)) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probabilities": torch.ones(2, 3)}, "row 0 sums to 3"),
        ({"probabilities": torch.tensor([[1.5, -0.5, 0.0]] * 2)}, "must be ≥ 0"),
        ({"probabilities": torch.full((2, 3), float("nan"))}, "row 0 sums to nan"),
        ({"probabilities": torch.ones(3)}, r"must be \(num_images, num_classes\); got \(3,\)"),
        ({"targets": torch.tensor([0, 3])}, r"targets\[1\] is 3; the classes are 0 to 2"),
        ({"class_names": ["cat"]}, "1 names for 3 classes"),
        ({"num_classes": 1}, "from 2 to 40; got 1"),
        ({"probabilities": torch.eye(3)[:2]}, "no two classes with pictures are confused"),
    ],
)
def test_what_cannot_be_drawn_is_explained(tmp_path, changes, message):
    arguments = {
        "probabilities": sure([1, 0], 3),
        "targets": torch.tensor([0, 1]),
        "class_names": ["cat", "dog", "sun"],
        "path": tmp_path / "confusion.png",
        "title": "Confusion",
    }
    with pytest.raises(ValueError, match=message):
        confusion_pairs(**arguments | changes)
