# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Show why a RECO checkpoint says what it says, and edit its memory: add a picture with a name, or remove entries.

    python examples/explain_reco.py RECO_FOLDER a.png b.png --candidate_labels "a cat" "a dog" --memory_images emoji
    python examples/explain_reco.py RECO_FOLDER a.png --candidate_labels "a cat" "an okapi" \
        --add_image okapi.png --add_caption "an okapi" --save_edited runs/with_okapi
    python examples/explain_reco.py RECO_FOLDER a.png --candidate_labels "a cat" "an okapi" --remove_ids 12 13

For every picture: the best labels with their scores by the base alone, with the memory and, if it is edited, after the
edit; the entries that the picture found, and those that its best label found, with their cosines. A memory keeps no
pictures: --memory_images names the dataset that it was built from (see build_memory.py), whose row numbers are the
ids; without it captions and ids are shown. --add_image and --add_caption may be given several times.

Edits take effect at once, without training, and leave the checkpoint on disk as it is; --save_edited writes the edited
one into another folder. Writes `neighbors_1.png` ..., four pictures a page, `explanations.jsonl`, one line a picture,
and `metrics.json` into the output folder. Needs matplotlib.
"""

import itertools
import json
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from checkpoints import load_processor
from command_line import UserError, parse_arguments, user_errors
from explanations import MemoryPictures, add_entry, explanation, found_by, predict, predict_with_base

PICTURES_ON_A_PAGE = 4
STAGES = ("base", "with memory", "after the edit")


@dataclass
class ExplainArguments:
    """Flags of explain_reco.py."""

    model: str = field(default="runs/reco", metadata={"help": "folder or Hub id of a RECO checkpoint with its memory"})
    images: list[str] = field(default_factory=list, metadata={"help": "pictures to explain; may follow the model"})
    candidate_labels: list[str] = field(default_factory=list, metadata={"help": "labels to choose from"})
    hypothesis_template: str = field(default="{}", metadata={"help": "sentence that a label is written into"})
    num_labels: int = field(default=5, metadata={"help": "labels to show of each picture"})
    output_dir: str = field(default="runs/explain_reco", metadata={"help": "folder of the results"})

    add_image: list[str] = field(default_factory=list, metadata={"help": "picture to add to the memory"})
    add_caption: list[str] = field(default_factory=list, metadata={"help": "its caption"})
    remove_ids: list[int] = field(default_factory=list, metadata={"help": "entries to remove from the memory"})
    save_edited: str | None = field(default=None, metadata={"help": "folder for the edited checkpoint"})

    memory_images: str | None = field(
        default=None, metadata={"help": "the dataset that the memory was built from: emoji, a Hub dataset, a folder"}
    )
    memory_config: str | None = field(default=None, metadata={"help": "configuration name of that dataset"})
    memory_split: str = field(default="train", metadata={"help": "its split"})
    memory_image_column: str = field(default="image", metadata={"help": "its column of images"})
    memory_caption_column: str = field(default="caption", metadata={"help": "its column of captions"})
    trust_remote_code: bool = field(default=False, metadata={"help": "run a Hub model's own code"})


def main() -> None:
    description = __doc__.split("\n\n")[0]
    args = parse_arguments(ExplainArguments, description, positional="model", argv=gathered(sys.argv[1:]))
    try:
        explain(args)
    except UserError as error:
        raise SystemExit(f"explain_reco.py: {error}") from None


def gathered(argv: list[str]) -> list[str]:
    """The command line with the pictures that follow the model behind --images, and each list's flag given once."""
    leading = list(itertools.takewhile(lambda item: not item.startswith("-"), argv))
    lists: dict[str, list[str]] = {"images": leading[1:], "add_image": [], "add_caption": []}
    others = target = leading[:1]
    for item in argv[len(leading) :]:
        name, equals, value = item.removeprefix("--").partition("=")
        name = name.replace("-", "_")
        if item.startswith("--") and name in lists:
            target = lists[name]
            target += [value] if equals else []
            continue
        target = others if item.startswith("--") else target
        target.append(item)
    return [*others, *(item for name, values in lists.items() if values for item in (f"--{name}", *values))]


def check(args: ExplainArguments) -> None:
    """Raise UserError for flags that say nothing, or not enough."""
    if not args.images:
        raise UserError("images needs a picture, or several: explain_reco.py RECO_FOLDER PICTURE ...")
    if len(set(args.candidate_labels)) < 2:
        raise UserError(f"candidate_labels must be two different labels or more, got {args.candidate_labels}")
    if args.hypothesis_template.count("{}") != 1:
        raise UserError(f"hypothesis_template needs one {{}} for the label, got {args.hypothesis_template!r}")
    if args.num_labels < 1:
        raise UserError(f"num_labels must be at least 1, got {args.num_labels}")
    if len(args.add_image) != len(args.add_caption):
        raise UserError(
            f"add_image and add_caption go together, got {len(args.add_image)} pictures and {len(args.add_caption)} "
            "captions"
        )
    if args.save_edited and not (args.add_image or args.remove_ids):
        raise UserError("save_edited needs an edit: --add_image FILE --add_caption NAME, or --remove_ids")
    if args.save_edited and Path(args.save_edited).exists():
        raise UserError(f"save_edited {args.save_edited} exists: name a new folder")


def explain(args: ExplainArguments) -> dict:
    """Predict, edit, predict again, and write what was found; returns what metrics.json holds."""
    from hf_cloob.encoding import encode_images, encode_texts
    from hf_cloob.evaluation.neighbor_sheet import neighbor_sheet
    from hf_cloob.text_padding import padded_as_trained
    from hf_cloob.training.run_log import write_metrics

    check(args)
    args.candidate_labels = list(dict.fromkeys(args.candidate_labels))
    pictures = [read_picture("images", file) for file in args.images]
    to_add = [read_picture("add_image", file) for file in args.add_image]
    model, processor = load_reco(args)
    picture_of = MemoryPictures(
        model.memory,
        args.memory_images,
        args.memory_config,
        args.memory_split,
        args.memory_image_column,
        args.memory_caption_column,
    )
    prompts = [args.hypothesis_template.replace("{}", label) for label in args.candidate_labels]
    with user_errors("candidate_labels:"):
        text_embeds = encode_texts(model.base, prompts, padded_as_trained(model, processor.tokenizer))
    image_embeds = encode_images(model.base, pictures, processor)

    predictions = [function(model, image_embeds, text_embeds) for function in (predict_with_base, predict)]
    metrics = {"num_images": len(pictures), "num_labels": len(prompts), "memory_size": len(model.memory)}
    before = [found_by(model.memory, predictions[-1].image_neighbors, row, picture_of) for row in range(len(pictures))]
    edits = {}
    if args.add_image or args.remove_ids:
        edits = edit(args, model, processor, to_add, picture_of)
        predictions.append(predict(model, image_embeds, text_embeds))
        metrics |= edits | {"memory_size_after": len(model.memory)}
    cards = build_cards(args, model, pictures, predictions, before, picture_of)
    metrics |= changes(predictions)

    output_dir = Path(args.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    stages = STAGES[: len(predictions)]
    for line in report(cards, stages):
        print(line)
    write_explanations(output_dir / "explanations.jsonl", args, predictions, cards)
    for start in range(0, len(cards), PICTURES_ON_A_PAGE):
        path = output_dir / f"neighbors_{start // PICTURES_ON_A_PAGE + 1}.png"
        title = f"{Path(args.model).name}: what it found among {len(model.memory):,} entries"
        print(f"Written: {neighbor_sheet(cards[start : start + PICTURES_ON_A_PAGE], stages, path, title)}")
    write_metrics(output_dir / "metrics.json", metrics)
    if args.save_edited:
        model.save_pretrained(args.save_edited, save_memory=True)
        processor.save_pretrained(args.save_edited)
        print(f"The edited checkpoint is in {args.save_edited}")
    return metrics


def read_picture(flag: str, file: str):
    """A picture from a file or URL."""
    from transformers.image_utils import load_image

    if not (file.startswith(("http://", "https://")) or Path(file).is_file()):
        raise UserError(f"{flag} {file}: there is no such file")
    with user_errors(f"{flag} {file!r}:"):
        return load_image(file)


def load_reco(args: ExplainArguments):
    """Model and processor; the model has a memory."""
    from transformers import AutoConfig

    from hf_cloob import RecoForZeroShot

    with user_errors(f"model {args.model!r}:"):
        config = AutoConfig.from_pretrained(args.model, trust_remote_code=args.trust_remote_code)
        if config.model_type != "reco":
            raise UserError(f"model {args.model} is a {config.model_type!r} checkpoint: it looks nothing up")
        model = RecoForZeroShot.from_pretrained(args.model).eval()
    if model.memory is None:
        raise UserError(f"model {args.model} was saved without a memory: there is nothing to explain")
    return model, load_processor(args.model, args.trust_remote_code)


def edit(args: ExplainArguments, model, processor, to_add: list, picture_of: MemoryPictures) -> dict:
    """Add and remove entries of the model's memory; the seconds that it took."""
    added, metrics = [], {}
    for file, image, caption in zip(args.add_image, to_add, args.add_caption, strict=True):
        started = time.perf_counter()
        with user_errors(f"add_image {file!r}, add_caption {caption!r}:"):
            id = add_entry(model, processor, image, caption)
        added.append(time.perf_counter() - started)
        picture_of.added[id] = image
        print(f"Added {file} as {caption!r}, entry {id}, in {added[-1]:.3f} s")
    if added:
        metrics |= {"entries_added": len(added), "add_seconds": statistics.median(added)}
        metrics["add_seconds_max"] = max(added)
    if args.remove_ids:
        started = time.perf_counter()
        with user_errors("remove_ids:"):
            model.memory.remove(args.remove_ids)
        metrics["remove_seconds"] = time.perf_counter() - started
        metrics["entries_removed"] = len(set(args.remove_ids))
        print(f"Removed {metrics['entries_removed']} entries in {metrics['remove_seconds']:.3f} s")
    return metrics


def build_cards(args: ExplainArguments, model, pictures: list, predictions: list, before: list, picture_of) -> list:
    """One `Explanation` a picture."""
    last, cards = predictions[-1], []
    for row, (picture, file) in enumerate(zip(pictures, args.images, strict=True)):
        best = int(last.probabilities[row].argmax())
        after = found_by(model.memory, last.image_neighbors, row, picture_of, picture_of.added)
        label = found_by(model.memory, last.text_neighbors, best, picture_of, picture_of.added)
        found = [("found by the picture", after)]
        if [entry.id for entry in before[row]] != [entry.id for entry in after]:
            found = [("found by the picture before the edit", before[row]), ("found by it after the edit", after)]
        found.append((f"found by “{args.candidate_labels[best]}”", label))
        stages = [prediction.probabilities[row] for prediction in predictions]
        found = [(heading, neighbors) for heading, neighbors in found if neighbors]
        name = Path(file).name
        cards.append(explanation(picture, name, args.candidate_labels, stages, found, args.num_labels))
    return cards


def changes(predictions: list) -> dict[str, int]:
    """How many pictures have another best label than one stage before."""
    best = [prediction.probabilities.argmax(dim=1) for prediction in predictions]
    counts = [int((first != second).sum()) for first, second in zip(best, best[1:], strict=False)]
    return dict(zip(("top1_changed_by_memory", "top1_changed_by_edit"), counts, strict=False))


def report(cards: list, stages: tuple[str, ...]) -> list[str]:
    """Scores and entries as a table."""
    lines = []
    for card in cards:
        lines += ["", f"{card.name[:40]:40}" + "".join(f"{stage:>16}" for stage in stages)]
        for label, row in zip(card.labels, card.scores, strict=True):
            lines.append(f"  {label[:38]:38}" + "".join(f"{score:>16.1%}" for score in row))
        for heading, neighbors in card.found:
            lines.append(f"  {heading}:")
            for entry in neighbors:
                mark = "+" if entry.is_new else " "
                lines.append(f"  {mark} {entry.score:6.3f}  #{entry.id:<9} {entry.caption or ''}")
    return lines


def write_explanations(path: Path, args: ExplainArguments, predictions: list, cards: list) -> None:
    """One JSON object a picture: all scores at all stages, and the entries that were found."""
    with path.open("w", encoding="utf-8") as file:
        for row, (image, card) in enumerate(zip(args.images, cards, strict=True)):
            scores = {
                stage: dict(zip(args.candidate_labels, prediction.probabilities[row].tolist(), strict=True))
                for stage, prediction in zip(STAGES, predictions, strict=False)
            }
            found = {
                heading: [{"id": one.id, "score": one.score, "caption": one.caption} for one in neighbors]
                for heading, neighbors in card.found
            }
            file.write(json.dumps({"image": image, "scores": scores, "found": found}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
