# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Standard suites as data: class names in label order, prompt templates and the metric each dataset is reported with.

Class names are the datasets' own, changed only as each suite's `edits` says; templates are this project's, short and
few. Names and templates of another paper go into a folder, in the layout of CLIP_benchmark: `classnames.txt` and
`zeroshot_classification_templates.txt`, one a line.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

DATA_FOLDER = Path(__file__).parent / "suite_data"
CLASS_NAMES_FILE = "classnames.txt"
TEMPLATES_FILE = "zeroshot_classification_templates.txt"

# The figures of `zero_shot_metrics` and `eleven_point_map` that the papers print.
SuiteMetric = Literal["top1", "mean_per_class_top1", "eleven_point_map"]


@dataclass(frozen=True)
class ZeroShotSuite:
    """One zero-shot classification task: what the classes are called, how they are prompted, what is reported.

    Attributes:
        name: as in `load_suite`.
        title: the dataset's name.
        class_names: num_classes names; a label is an index into them.
        class_keys: num_classes names of the dataset's own folders or labels, by which readers place images; empty
            when a user's folder names the classes and the shipped keys do not fit.
        templates: strings with one `{}` each.
        metric: the figure that papers report.
        split: the split that is measured.
        num_images: pictures in that split, None when it is not fixed.
        hub_dataset: id of a Hub dataset in CLIP_benchmark's layout, None if none is known. Its `classnames.txt` orders
            its labels: Caltech 101 there has 102 classes.
        source, license: where the names were read, and under which license.
        edits: what was changed in them.
        ignored_keys: folders of the dataset that are no class.
    """

    name: str
    title: str
    class_names: tuple[str, ...]
    class_keys: tuple[str, ...]
    templates: tuple[str, ...]
    metric: SuiteMetric
    split: str = "test"
    num_images: int | None = None
    hub_dataset: str | None = None
    source: str = ""
    license: str = ""
    edits: str = ""
    ignored_keys: tuple[str, ...] = ()

    def __post_init__(self):
        if not self.class_names or not self.templates:
            raise ValueError(f"Suite {self.name!r} needs class names and templates; it has none of one of them.")
        if self.metric not in get_args(SuiteMetric):
            raise ValueError(f"metric of suite {self.name!r} is {self.metric!r}; allowed: {get_args(SuiteMetric)}.")
        if self.class_keys and len(self.class_keys) != len(self.class_names):
            raise ValueError(
                f"Suite {self.name!r} has {len(self.class_names)} class names and {len(self.class_keys)} class keys."
            )


@dataclass(frozen=True)
class RetrievalSuite:
    """One image-text retrieval task with several captions an image, on Karpathy's split (arXiv 1412.2306).

    Attributes:
        name, title: as in `load_retrieval_suite`, and the dataset's name.
        split: the split that is measured.
        num_images, num_captions: its size with five captions an image.
        annotation_file: the name of Karpathy's JSON file.
        hub_dataset: id of a Hub dataset in CLIP_benchmark's layout.
    """

    name: str
    title: str
    split: str
    num_images: int
    num_captions: int
    annotation_file: str
    hub_dataset: str | None = None


def suite_names(task: Literal["zero-shot", "retrieval"] = "zero-shot") -> tuple[str, ...]:
    """Lists the suites of one task, sorted by name."""
    names = sorted(file.stem for file in DATA_FOLDER.glob("*.json"))
    return tuple(name for name in names if _record(name)["task"] == task)


def load_suite(name: str, folder: str | Path | None = None) -> ZeroShotSuite:
    """Loads a zero-shot suite, with the user's own class names and templates where a folder holds them.

    Args:
        name: one of `suite_names()`.
        folder: holds `classnames.txt`, `zeroshot_classification_templates.txt`, both or neither; a file that is there
            replaces what is shipped. Its names are in label order. The shipped keys stay when the count is the same.

    Raises:
        ValueError: an unknown name, a folder that is not there, a file that does not read, or a suite whose names are
            not shipped without a `classnames.txt`.
    """
    record = _record(name)
    if record.get("task") != "zero-shot":
        hint = " It is a retrieval suite: use load_retrieval_suite." if record else ""
        raise ValueError(f"No zero-shot suite {name!r}.{hint} The suites are {', '.join(suite_names())}.")
    keys, names = zip(*record["classes"], strict=True) if record["classes"] else ((), ())
    own_names, own_templates = _read_folder(folder)
    if own_names:
        keys = keys if len(keys) == len(own_names) else ()
    elif not names:
        raise ValueError(
            f"The class names of suite {name!r} are not shipped: {record['needs']}. Write them into "
            f"{CLASS_NAMES_FILE}, one a line in label order, and pass its folder."
        )
    fields = ("title", "metric", "split", "num_images", "hub_dataset", "source", "license", "edits")
    described = {field: record[field] for field in fields}
    if own_names:
        described |= {"source": f"{folder}/{CLASS_NAMES_FILE}", "license": "", "edits": ""}
    return ZeroShotSuite(
        name=name,
        class_names=own_names or names,
        class_keys=keys,
        templates=own_templates or tuple(record["templates"]),
        ignored_keys=tuple(record["ignored_keys"]),
        **described,
    )


def load_suite_folder(folder: str | Path, metric: SuiteMetric = "top1", split: str = "test") -> ZeroShotSuite:
    """Loads a suite that only a folder describes: any dataset in CLIP_benchmark's layout.

    Args:
        folder: holds `classnames.txt` and `zeroshot_classification_templates.txt`; its name becomes the suite's.
        metric: the figure to report.
        split: the split to measure.

    Raises:
        ValueError: one of the files is missing or does not read, or an unknown metric.
    """
    names, templates = _read_folder(folder)
    missing = [file for file, lines in ((CLASS_NAMES_FILE, names), (TEMPLATES_FILE, templates)) if not lines]
    if missing:
        raise ValueError(f"{folder} holds no {' and no '.join(missing)}; a suite of its own needs both.")
    name = Path(folder).resolve().name
    source = f"{folder}/{CLASS_NAMES_FILE}"
    return ZeroShotSuite(name, name, names, (), templates, metric, split, source=source)


def load_retrieval_suite(name: str) -> RetrievalSuite:
    """Loads a retrieval suite.

    Raises:
        ValueError: a name that is not among `suite_names("retrieval")`.
    """
    record = _record(name)
    if record.get("task") != "retrieval":
        raise ValueError(f"No retrieval suite {name!r}. The suites are {', '.join(suite_names('retrieval'))}.")
    return RetrievalSuite(name=name, **{field: value for field, value in record.items() if field != "task"})


def suite_table() -> str:
    """Writes the Markdown tables of what is shipped, from the data itself."""
    lines = ["| suite | dataset | classes | names shipped | metric | split (images) | names from (license) | edits |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for name in suite_names():
        record = _record(name)
        shipped = "yes" if record["classes"] else f"no: {record['needs']}"
        count = len(record["classes"]) if record["classes"] else "–"
        images = f"{record['num_images']:,}" if record["num_images"] else "not fixed"
        source = f"{record['source']} ({record['license']})" if record["classes"] else "–"
        row = [f"`{name}`", record["title"], count, shipped, f"`{record['metric']}`"]
        row += [f"{record['split']} ({images})", source, record["edits"] or "–"]
        lines.append(f"| {' | '.join(map(str, row))} |")
    lines += ["", "| retrieval suite | dataset | images | captions | annotations |", "|---|---|---|---|---|"]
    for suite in map(load_retrieval_suite, suite_names("retrieval")):
        lines.append(
            f"| `{suite.name}` | {suite.title} | {suite.num_images:,} | {suite.num_captions:,} "
            f"| `{suite.annotation_file}` |"
        )
    return "\n".join(lines) + "\n"


def read_templates(path: str | Path) -> tuple[str, ...]:
    """Reads prompt templates, one a line, with `{}` or CLIP_benchmark's `{c}` for the name.

    Raises:
        ValueError: no template, or a line without exactly one place for the name.
    """
    templates = tuple(line.replace("{c}", "{}") for line in _read_lines(path) if line)
    for number, template in enumerate(templates, start=1):
        if template.count("{}") != 1:
            raise ValueError(f"Template {number} of {path} is {template!r}; it needs exactly one {{c}} or {{}}.")
    if not templates:
        raise ValueError(f"{path} holds no template.")
    return templates


def read_class_names(path: str | Path) -> tuple[str, ...]:
    """Reads class names, one a line in label order.

    Raises:
        ValueError: no name, or a blank line before the last name, which would shift every label after it.
    """
    names = _read_lines(path)
    if not any(names):
        raise ValueError(f"{path} holds no class name.")
    if "" in names:
        raise ValueError(f"Line {names.index('') + 1} of {path} is blank; every line is the name of one label.")
    return tuple(names)


def _read_lines(path: str | Path) -> list[str]:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} does not read as UTF-8 text: {error}") from error
    return [line.strip() for line in text.rstrip().split("\n")]


def _read_folder(folder: str | Path | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if folder is None:
        return (), ()
    if not Path(folder).is_dir():
        raise ValueError(f"{folder} is not a folder.")
    names, templates = Path(folder) / CLASS_NAMES_FILE, Path(folder) / TEMPLATES_FILE
    return (
        read_class_names(names) if names.exists() else (),
        read_templates(templates) if templates.exists() else (),
    )


def _record(name: str) -> dict[str, Any]:
    """The data of a suite; nothing for a name that is none."""
    file = DATA_FOLDER / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
