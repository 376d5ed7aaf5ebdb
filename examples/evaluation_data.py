# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The data of evaluate.py: which reader a folder or a Hub id needs, and the suite that names its classes."""

from dataclasses import replace
from pathlib import Path

from command_line import UserError

# Suites that any data can take, beside the standard ones.
OWN_CLASSES, OWN_CAPTIONS, EMOJI, GEOMETRY, ARITHMETIC = (
    "classification",
    "retrieval",
    "emoji",
    "geometry",
    "arithmetic",
)
DEFAULT_TEMPLATES = ("a photo of a {}.",)
# Files of a dataset that `datasets` reads as a table.
TABLES = ("*.parquet", "*.arrow", "*.csv", "*.json", "*.jsonl", "data/*.parquet")
TABLES_OF_SPLITS = ("*/metadata.csv", "*/metadata.jsonl", "*/metadata.parquet")
SAVED = ("dataset_dict.json", "state.json")
# A folder of nothing but these is no folder of classes.
SPLIT_FOLDERS = frozenset(("train", "training", "val", "valid", "validation", "dev", "test", "testing"))


def task_of(suite: str) -> str:
    """'emoji', 'geometry', 'arithmetic', 'classification' or 'retrieval'.

    Raises:
        UserError: no such suite.
    """
    from hf_cloob.evaluation.suites import suite_names

    if suite in (EMOJI, GEOMETRY, ARITHMETIC):
        return suite
    if suite == OWN_CAPTIONS or suite in suite_names("retrieval"):
        return OWN_CAPTIONS
    if suite == OWN_CLASSES or suite in suite_names():
        return OWN_CLASSES
    there = ", ".join(
        (EMOJI, OWN_CLASSES, OWN_CAPTIONS, GEOMETRY, ARITHMETIC, *suite_names(), *suite_names("retrieval"))
    )
    raise UserError(f"suite must be one of {there}; got {suite!r}")


def load_classification(args):
    """The suite, the dataset to classify (columns image and label or labels) and the probes' training set or None."""
    suite = load_classification_suite(args)
    split = args.dataset_split or suite.split
    check_splits(args, split)
    dataset = read_labeled(args, suite, split, args.file_list)
    if not args.train_split:
        return suite, dataset, None
    if "labels" in dataset.column_names:
        raise UserError(f"the probes of train_split take one class an image; {args.dataset_name} has several")
    # Its size is not the test split's, and is no reason to warn.
    return suite, dataset, read_labeled(args, replace(suite, num_images=None), args.train_split)


def check_splits(args, split: str) -> None:
    """Refuse a split that is not there where other images would stand in for it, above all for the training ones.

    Raises:
        UserError: naming the split.
    """
    folder = Path(args.dataset_name)
    if args.train_split == split:
        raise UserError(f"train_split {split!r} is the split that is measured: the probes need another one")
    for flag in ("dataset_split", "train_split"):
        name = getattr(args, flag)
        if name and layout_of(args.dataset_name, name) == "class_folders" and not (folder / name).is_dir():
            raise UserError(f"{args.dataset_name} has no folder of {flag} {name!r}")
    if args.train_split and (folder / "state.json").is_file():
        raise UserError(f"{args.dataset_name} is a single split saved to disk: it has no train_split")
    sharded = layout_of(args.dataset_name, split) == "webdataset"
    if args.train_split and sharded and not any((folder / args.train_split).glob("*.tar")):
        raise UserError(f"{args.dataset_name} has no folder of shards of train_split {args.train_split!r}")


def load_classification_suite(args):
    """The standard suite, or one whose classes the data names itself; files of `--suite_folder` come first."""
    from hf_cloob.evaluation.suites import CLASS_NAMES_FILE, TEMPLATES_FILE, load_suite, load_suite_folder

    folder = Path(args.suite_folder or args.dataset_name)
    ordered = (folder / CLASS_NAMES_FILE).is_file()
    if args.suite != OWN_CLASSES:
        # A dataset in CLIP_benchmark's layout orders its labels by its own list of names.
        return load_suite(args.suite, folder if args.suite_folder or ordered else None)
    if args.suite_folder or (ordered and (folder / TEMPLATES_FILE).is_file()):
        return load_suite_folder(folder, split=args.dataset_split or "test")
    return suite_of_the_data(args)


def suite_of_the_data(args):
    """A suite with the names of the class folders, or of the class labels, of the data."""
    from hf_cloob.evaluation.suites import ZeroShotSuite

    split = args.dataset_split or "test"
    layout = layout_of(args.dataset_name, split)
    if layout == "class_folders":
        names = sorted(path.name for path in folder_of(args.dataset_name, split).iterdir() if is_class_folder(path))
    elif layout == "table":
        names = label_names(args, split)
    else:
        raise UserError(f"{args.dataset_name} does not name its classes: pass --suite_folder with classnames.txt")
    if not names:
        raise UserError(f"{args.dataset_name} holds no table, no shards and no folder of a class")
    spoken = tuple(name.replace("_", " ") for name in names)
    title = Path(args.dataset_name).name
    return ZeroShotSuite(OWN_CLASSES, title, spoken, tuple(names), DEFAULT_TEMPLATES, "top1", split)


def label_names(args, split: str) -> list[str]:
    """The names of a table's classes: those of its class labels, or its different strings, sorted."""
    import datasets

    dataset = load_table(args, split)
    if args.label_column not in dataset.column_names:
        raise UserError(f"{args.dataset_name} has no column {args.label_column!r}, it has {dataset.column_names}")
    feature = dataset.features[args.label_column]
    if isinstance(feature, datasets.ClassLabel):
        return list(feature.names)
    names = set(dataset[args.label_column][:])
    if not all(isinstance(name, str) for name in names):
        raise UserError(
            f"the labels of {args.dataset_name} in {args.label_column!r} have no names ({feature}): pass "
            "--suite_folder with classnames.txt and --label_order suite"
        )
    return sorted(names)


def load_table(args, split: str):
    """One split of a Hub dataset or of a folder that `datasets` reads."""
    from hf_cloob.data.sources import load_table

    return load_table(args.dataset_name, args.dataset_config, split)


def read_labeled(args, suite, split: str, file_list: str | None = None):
    """The images with their labels as indices into the suite's class names, by the reader that the data needs."""
    from hf_cloob.evaluation.pascal_voc import read_voc
    from hf_cloob.evaluation.suite_readers import label_rows, read_image_folder
    from hf_cloob.evaluation.webdataset_shards import read_webdataset

    layout = layout_of(args.dataset_name, split)
    if layout == "webdataset":
        return read_webdataset(args.dataset_name, suite, split)
    if layout == "voc":
        return read_voc(voc_folder(args.dataset_name), suite, split)
    if layout == "class_folders":
        return read_image_folder(folder_of(args.dataset_name, split), suite, file_list)
    return label_rows(
        load_table(args, split),
        suite,
        args.image_column,
        args.label_column,
        args.label_order,
        name=f"{args.dataset_name} ({split})",
    )


def load_captioned(args):
    """The images with their captions: columns image and captions."""
    from hf_cloob.data.sources import normalize_pairs
    from hf_cloob.evaluation.karpathy_captions import read_karpathy
    from hf_cloob.evaluation.webdataset_shards import read_webdataset_captions

    split = args.dataset_split or "test"
    if args.annotation_file:
        return read_karpathy(args.annotation_file, args.dataset_name, split)
    layout = layout_of(args.dataset_name, split)
    if layout == "webdataset":
        return read_webdataset_captions(args.dataset_name, split)
    if layout != "table" or (args.suite != OWN_CAPTIONS and holds_karpathy(args)):
        raise UserError(
            f"{args.dataset_name} holds images without captions: pass --annotation_file with Karpathy's JSON file, "
            "as dataset_coco.json"
        )
    dataset, name = load_table(args, split), f"{args.dataset_name} ({split})"
    return normalize_pairs(dataset, args.image_column, args.caption_column, name=name)


def layout_of(dataset_name: str, split: str) -> str:
    """'webdataset', 'voc', 'class_folders', or 'table' for all that `datasets` reads by itself, Hub ids included."""
    folder = Path(dataset_name)
    if not folder.is_dir():
        return "table"
    if any(folder.glob("*.tar")) or any((folder / split).glob("*.tar")):
        return "webdataset"
    if (voc_folder(dataset_name) / "ImageSets").is_dir():
        return "voc"
    tables = any(any(folder.glob(pattern)) for pattern in TABLES + TABLES_OF_SPLITS)
    if tables or any((folder / name).is_file() for name in SAVED):
        return "table"
    return "class_folders"


def voc_folder(dataset_name: str) -> Path:
    """The folder of Pascal VOC 2007, given itself or as VOCdevkit."""
    inner = Path(dataset_name, "VOC2007")
    return inner if inner.is_dir() else Path(dataset_name)


def holds_karpathy(args) -> bool:
    """Whether the annotations of a retrieval suite lie in the data's folder, where they look like a table."""
    from hf_cloob.evaluation.suites import load_retrieval_suite

    return Path(args.dataset_name, load_retrieval_suite(args.suite).annotation_file).is_file()


def folder_of(dataset_name: str, split: str) -> Path:
    """The folder that holds the classes' folders: the split's, or the dataset's if its splits have none.

    Raises:
        UserError: there are folders of splits, but not of this one.
    """
    folder = Path(dataset_name)
    if (folder / split).is_dir():
        return folder / split
    names = sorted(path.name for path in folder.iterdir() if is_class_folder(path))
    if names and SPLIT_FOLDERS.issuperset(names):
        raise UserError(f"{dataset_name} has no folder {split!r}, it has {', '.join(names)}: pass --dataset_split")
    return folder


def is_class_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")
