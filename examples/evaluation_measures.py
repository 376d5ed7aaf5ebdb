# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What evaluate.py measures: for each task its flat metrics, and the pictures that show them.

Every process makes the same calls, because they share the embedding; the main one alone fits the probes. A picture
is a function of the path to write, called when the figures are safe.
"""

from pathlib import Path

RETRIEVAL_KS = (1, 5, 10)
# Rows handed to the encoder in one call, which shares them out and cuts them into batches.
AT_ONCE = 100_000
# The emoji's groups are the labels of their probes: a concept has too few pictures.
EMOJI_PROBE_LABEL = "group"
# The split that its pictures show.
EMOJI_SHOWN = "test_seen"


def measure_emoji(args, encoder, processor, emoji, is_main: bool) -> tuple[dict, dict]:
    """The emoji protocol (see `evaluate_emoji`), the modality gap, and probes of the groups."""
    import torch

    from hf_cloob.evaluation.emoji import EVALUATION_SPLITS, evaluate_emoji
    from hf_cloob.evaluation.geometry import modality_gap
    from hf_cloob.evaluation.prompts import EMOJI_TEMPLATES

    metrics = evaluate_emoji(encoder, processor, emoji, EMOJI_TEMPLATES, AT_ONCE)
    groups = {group: index for index, group in enumerate(sorted(set(emoji["train"]["group"])))}

    def embedded(split: str) -> tuple:
        targets = torch.tensor([groups[group] for group in emoji[split][EMOJI_PROBE_LABEL]])
        return encoder.encode_images(list(emoji[split]["image"]), processor), targets

    probes = fit_probes(args, *embedded("train"), is_main)
    for split in EVALUATION_SPLITS:
        test = embedded(split)
        labels = encoder.encode_texts(list(emoji[split]["label"]), processor)
        metrics[f"{split}_modality_gap"] = modality_gap(test[0], labels)
        metrics |= probe_metrics(probes, *test, prefix=f"{split}_{EMOJI_PROBE_LABEL}_")
    return metrics, emoji_pictures(encoder, processor, emoji) if args.pictures else {}


def emoji_pictures(encoder, processor, emoji) -> dict:
    """The pictures of one split, from the embeddings that the protocol has computed."""
    import torch
    from evaluation_pictures import classification_pictures, retrieval_pictures

    from hf_cloob.evaluation.emoji import captions_of_one_image, concept_labels
    from hf_cloob.evaluation.image_loading import DatasetImages
    from hf_cloob.evaluation.prompts import EMOJI_TEMPLATES
    from hf_cloob.evaluation.zero_shot import build_classifier

    shown, concepts = emoji[EMOJI_SHOWN], concept_labels(emoji)
    names, places = list(concepts.values()), {concept: index for index, concept in enumerate(concepts)}
    targets = torch.tensor([places[concept] for concept in shown["concept"]])
    image_embeds, images = encoder.encode_images(list(shown["image"]), processor), DatasetImages(shown, "image")
    class_embeds = build_classifier(
        lambda texts: encoder.encode_texts(texts, processor), names, EMOJI_TEMPLATES, AT_ONCE
    )
    texts, owners = captions_of_one_image(shown)
    found = image_embeds, encoder.encode_texts(texts, processor), owners
    title = "Emoji of Noto, concepts of the training styles"
    return {
        **classification_pictures(encoder.model, image_embeds, class_embeds, targets, names, images, title),
        **retrieval_pictures(*found, images, texts, title),
    }


def measure_classification(args, encoder, processor, data: tuple, is_main: bool) -> tuple[dict, dict]:
    """Zero-shot accuracy with the suite's names and templates, and the probes if there is a training split."""
    import torch
    from evaluation_pictures import classification_pictures

    from hf_cloob.evaluation.average_precision import eleven_point_map, multi_hot
    from hf_cloob.evaluation.geometry import modality_gap
    from hf_cloob.evaluation.image_loading import DatasetImages
    from hf_cloob.evaluation.zero_shot import build_classifier, zero_shot_metrics

    suite, test, train = data

    def embedded(dataset) -> tuple:
        image_embeds, rows = encoder.encode_readable_images(DatasetImages(dataset, "image"), processor)
        return image_embeds, dataset.select(rows.tolist())

    class_embeds = build_classifier(
        lambda texts: encoder.encode_texts(texts, processor), suite.class_names, suite.templates, AT_ONCE
    )
    image_embeds, kept = embedded(test)
    several = "labels" in kept.column_names
    if several:
        marks = [
            multi_hot(kept[name][:], len(class_embeds)) for name in ("labels", "ignored") if name in kept.features
        ]
        found, pictures = eleven_point_map(image_embeds @ class_embeds.T, *marks), {}
    else:
        targets, images = torch.tensor(kept["label"][:]), DatasetImages(kept, "image")
        found = zero_shot_metrics(image_embeds, class_embeds, targets)
        pictures = classification_pictures(
            encoder.model, image_embeds, class_embeds, targets, suite.class_names, images, suite.title
        )
    metrics = {f"zero_shot_{name}": value for name, value in found.items()}
    metrics |= {
        "modality_gap": modality_gap(image_embeds, class_embeds),
        "num_images": len(kept),
        "num_classes": len(class_embeds),
        "num_templates": len(suite.templates),
        "skipped_images": len(test) - len(kept),
    }
    if train is not None:
        train_embeds, kept = embedded(train)
        probes = fit_probes(args, train_embeds, torch.tensor(kept["label"][:]), is_main)
        metrics |= probe_metrics(probes, image_embeds, targets)
    return metrics, pictures


def measure_retrieval(args, encoder, processor, pairs, is_main: bool) -> tuple[dict, dict]:
    """Image-text recall in both directions, every image with all its captions."""
    import torch
    from evaluation_pictures import retrieval_pictures

    from hf_cloob.evaluation.geometry import modality_gap
    from hf_cloob.evaluation.image_loading import DatasetImages
    from hf_cloob.evaluation.retrieval_metrics import recall_at_k

    image_embeds, rows = encoder.encode_readable_images(DatasetImages(pairs, "image"), processor)
    kept = pairs.select(rows.tolist())
    captions = kept["captions"][:]
    owners = torch.tensor([index for index, texts in enumerate(captions) for _ in texts])
    texts = [text for texts in captions for text in texts]
    text_embeds = encoder.encode_texts(texts, processor)
    metrics = recall_at_k(image_embeds, text_embeds, owners, RETRIEVAL_KS, show_progress=is_main) | {
        "modality_gap": modality_gap(image_embeds, text_embeds),
        "num_images": len(image_embeds),
        "num_captions": len(texts),
        "skipped_images": len(pairs) - len(image_embeds),
    }
    images = DatasetImages(kept, "image")
    return metrics, retrieval_pictures(image_embeds, text_embeds, owners, images, texts, title_of_pairs(args))


def title_of_pairs(args) -> str:
    """The name of a standard suite, or of the user's data."""
    from hf_cloob.evaluation.suites import load_retrieval_suite, suite_names

    standard = args.suite in suite_names("retrieval")
    return load_retrieval_suite(args.suite).title if standard else Path(args.dataset_name).name


def fit_probes(args, train_embeds, train_targets, is_main: bool) -> dict:
    """The probes that the flags ask for, by name; none on other processes than the main one."""
    from hf_cloob.evaluation.probes import fit_linear_probe, fit_nearest_neighbors

    probes = {}
    if is_main and args.linear_probe:
        probes["linear_probe"] = fit_linear_probe(train_embeds, train_targets, show_progress=True)
    if is_main and args.knn:
        num_neighbors = min(args.num_neighbors, len(train_embeds))
        probes["knn"] = fit_nearest_neighbors(train_embeds, train_targets, num_neighbors)
    return probes


def probe_metrics(probes: dict, test_embeds, test_targets, prefix: str = "") -> dict[str, float]:
    """Every probe's accuracies under its name."""
    from hf_cloob.evaluation.probes import probe_accuracy

    found = {name: probe_accuracy(probe, test_embeds, test_targets) for name, probe in probes.items()}
    return {f"{prefix}{probe}_{name}": value for probe, values in found.items() for name, value in values.items()}


def measure_arithmetic(args, encoder, processor, data: dict, is_main: bool) -> tuple[dict, dict]:
    """Image + lambda (text - text) on the emoji's quadruples."""
    from evaluation_arithmetic import measure_emoji_arithmetic

    return measure_emoji_arithmetic(args, encoder, processor, data, is_main)


MEASURES = {
    "emoji": measure_emoji,
    "classification": measure_classification,
    "retrieval": measure_retrieval,
    "arithmetic": measure_arithmetic,
}
