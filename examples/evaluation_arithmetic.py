# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Suite arithmetic of evaluate.py: image + lambda · (text − text) looks for another image, on the emoji's table.

Noto, the style that was never trained on, is what is reported; the styles of the training are a mark of sanity.
"""

import random
from collections.abc import Sequence

# The picture: questions drawn from the reported ones, one a kind as far as they go.
SHOWN, FOUND = 16, 5
# Figures of single kinds and of the grid are kept for the first family only.
SUMMARY = (
    "top1",
    "top5",
    "gain",
    "image_only",
    "text_only",
    "random_direction",
    "with_source",
    "scale",
    "micro",
    "num",
)


def load_arithmetic_data() -> dict[str, tuple]:
    """For each family its pictures and its quadruples; the reported family first."""
    from hf_cloob.data.emoji import load_emoji
    from hf_cloob.data.emoji_arithmetic import quadruples_of_family
    from hf_cloob.data.emoji_protocol import COMPLETE_FAMILIES, TEST_FAMILY

    emoji = load_emoji()
    families = (TEST_FAMILY, *(family for family in COMPLETE_FAMILIES if family != TEST_FAMILY))
    return {family: quadruples_of_family(emoji, family) for family in families}


def measure_emoji_arithmetic(args, encoder, processor, data: dict, is_main: bool) -> tuple[dict, dict]:
    """Every family's figures under its name, and a picture of the first one's questions."""
    from hf_cloob.evaluation.arithmetic import measure_arithmetic

    metrics, pictures = {}, {}
    for family, (dataset, quadruples) in data.items():
        words = sorted({text for item in quadruples for text in (item.source_words, item.target_words)})
        task = arithmetic_task(dataset["concept"], words, quadruples)
        images = list(dataset["image"])
        image_embeds, text_embeds = encoder.encode_images(images, processor), encoder.encode_texts(words, processor)
        if not is_main:
            continue
        found = measure_arithmetic(image_embeds, text_embeds, task)
        if not metrics:
            print(kind_table(found))
            pictures = arithmetic_pictures(image_embeds, text_embeds, task, quadruples, dataset, found["scale"])
        else:
            found = {name: value for name, value in found.items() if name.startswith(SUMMARY)}
        metrics |= {f"{family}_{name}": value for name, value in found.items()}
    if is_main:
        print(f"\n{family_table(metrics, list(data))}")
    return metrics, pictures


def arithmetic_task(concepts: Sequence[str], words: Sequence[str], quadruples: Sequence):
    """The quadruples as rows of the embeddings; the halves of the protocol's concepts part them by their source."""
    import torch

    from hf_cloob.data.emoji_protocol import in_selection_half
    from hf_cloob.evaluation.arithmetic import ArithmeticTask

    image_of = {concept: row for row, concept in enumerate(concepts)}
    text_of = {text: row for row, text in enumerate(words)}
    return ArithmeticTask(
        source_images=torch.tensor([image_of[item.source] for item in quadruples]),
        source_texts=torch.tensor([text_of[item.source_words] for item in quadruples]),
        target_texts=torch.tensor([text_of[item.target_words] for item in quadruples]),
        target_images=torch.tensor([image_of[item.target] for item in quadruples]),
        kinds=[item.kind for item in quadruples],
        selection=torch.tensor([in_selection_half(item.source) for item in quadruples]),
        groups=["unseen" if item.unseen else "seen" for item in quadruples],
    )


def arithmetic_pictures(image_embeds, text_embeds, task, quadruples: Sequence, dataset, scale: float) -> dict:
    """What some reported questions find."""

    def sheet(path):
        from hf_cloob.evaluation.arithmetic import arithmetic_queries
        from hf_cloob.evaluation.arithmetic_sheet import ArithmeticExample, arithmetic_sheet

        labels, images = dataset["label"], dataset["image"]
        texts = text_embeds[task.source_texts], text_embeds[task.target_texts]
        scores = arithmetic_queries(image_embeds[task.source_images], *texts, scale) @ image_embeds.T
        scores.scatter_(1, task.source_images[:, None], -1.0)
        examples = []
        for row in shown_rows(task):
            values, found = scores[row].topk(FOUND)
            item, source, target = quadruples[row], int(task.source_images[row]), int(task.target_images[row])
            examples.append(
                ArithmeticExample(
                    kind=item.kind + (" (unseen)" if item.unseen else ""),
                    source=(images[source], labels[source]),
                    words=(item.source_words, item.target_words),
                    target=labels[target],
                    found=[(images[place], labels[place]) for place in found.tolist()],
                    scores=values.tolist(),
                    right=[place == target for place in found.tolist()],
                )
            )
        title = f"Image + {scale:g} · (text − text): what it finds among {len(dataset):,} emoji of Noto"
        return arithmetic_sheet(examples, path, title)

    return {"arithmetic.png": sheet}


def shown_rows(task) -> list[int]:
    """The same random reported questions each time, as many of one kind as of another."""
    shuffled = (~task.selection).nonzero().flatten().tolist()
    random.Random(0).shuffle(shuffled)
    seen, ranked = {}, []
    for row in shuffled:
        seen[task.kinds[row]] = seen.get(task.kinds[row], 0) + 1
        ranked.append((seen[task.kinds[row]], row))
    return sorted(row for _, row in sorted(ranked)[:SHOWN])


def kind_table(found: dict) -> str:
    """Right answers by what changes, in percent, of the reported half."""
    lines = [f"{'Noto, top-1 %':16}{'questions':>10}{'arithmetic':>12}{'95 % interval':>18}{'image':>8}{'text':>8}"]
    subsets = [name.removesuffix("_num_questions") for name in found if name.endswith("_num_questions")]
    for subset in subsets:
        low, high = (100 * found[f"{subset}_top1_{end}"] for end in ("low", "high"))
        controls = [100 * found[f"{subset}_{name}_only_top1"] for name in ("image", "text")]
        lines.append(
            f"{subset:16}{found[f'{subset}_num_questions']:>10}{100 * found[f'{subset}_top1']:>12.1f}"
            f"{f'{low:.1f} to {high:.1f}':>18}{controls[0]:>8.1f}{controls[1]:>8.1f}"
        )
    return "\n".join(lines)


def family_table(metrics: dict, families: Sequence[str]) -> str:
    """The macro averages of every family, in percent."""
    lines = [f"{'macro over kinds, %':24}" + "".join(f"{family:>22}" for family in families)]
    for name in ("top1", "top5", "gain_top1", "image_only_top1", "text_only_top1", "random_direction_top1"):
        cells = [[100 * metrics[f"{family}_{name}{end}"] for end in ("", "_low", "_high")] for family in families]
        lines.append(
            f"{name:24}" + "".join(f"{f'{mean:.1f} ({low:.1f}, {high:.1f})':>22}" for mean, low, high in cells)
        )
    for name in ("scale", "num_questions"):
        lines.append(f"{name:24}" + "".join(f"{metrics[f'{family}_{name}']:>22g}" for family in families))
    return "\n".join(lines)
