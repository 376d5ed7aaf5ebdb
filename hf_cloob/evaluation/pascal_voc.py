# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Pascal VOC 2007 as a suite: images with several classes, some of them hard to see."""

from pathlib import Path
from typing import TYPE_CHECKING

from .suite_readers import check_size
from .suites import ZeroShotSuite

if TYPE_CHECKING:
    import datasets


def read_voc(folder: str | Path, suite: ZeroShotSuite, split: str = "test") -> "datasets.Dataset":
    """Reads Pascal VOC 2007, where an image has several classes.

    Args:
        folder: `VOC2007`, with JPEGImages and ImageSets/Main/{class}_{split}.txt.
        suite: `voc2007`; its class keys name the lists.
        split: "test", "train", "val" or "trainval".

    Returns:
        Columns image, labels (the classes in the image) and ignored (those seen with difficulty only, which neither
        count as right nor as wrong), for `eleven_point_map`.

    Raises:
        ValueError: a class's list or an image is not there, or a line that is not "name 1", "name 0" or "name -1".

    Source: the VOC2007 development kit, classification task.
    """
    import datasets

    if not suite.class_keys:
        raise ValueError(f"Suite {suite.name!r} has no class keys, by which VOC names its lists; load 'voc2007'.")
    folder = Path(folder)
    marks: dict[str, dict[int, list[int]]] = {}
    for label, key in enumerate(suite.class_keys):
        path = folder / "ImageSets" / "Main" / f"{key}_{split}.txt"
        if not path.is_file():
            raise ValueError(f"{path} is not there; expected the folder VOC2007 of VOCdevkit with split {split!r}.")
        for line in path.read_text(encoding="utf-8").splitlines():
            name, mark = (line.split() + ["", ""])[:2]
            if mark not in ("1", "0", "-1"):
                raise ValueError(f"A line of {path} is {line!r}; expected a name and 1, 0 or -1.")
            marks.setdefault(name, {1: [], 0: [], -1: []})[int(mark)].append(label)
    images = [folder / "JPEGImages" / f"{name}.jpg" for name in marks]
    missing = [image for image in images if not image.is_file()]
    if missing or not images:
        first = f", the first is {missing[0]}" if missing else ""
        raise ValueError(f"{len(missing)} of {len(images)} images of split {split!r} are not there{first}.")
    check_size(len(images), {label for mark in marks.values() for label in mark[1]}, suite, where=str(folder))
    classes = datasets.List(datasets.Value("int64"))
    return datasets.Dataset.from_dict(
        {
            "image": [str(image) for image in images],
            "labels": [mark[1] for mark in marks.values()],
            "ignored": [mark[0] for mark in marks.values()],
        },
        features=datasets.Features({"image": datasets.Image(), "labels": classes, "ignored": classes}),
    )
