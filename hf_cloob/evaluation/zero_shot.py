# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Zero-shot classification: class names become a classifier, pictures are ranked against it."""

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F

from .prompts import PromptTemplate, fill_templates
from .ranking import TIE_TOLERANCE, check_embeds, check_indices, check_ks, check_positive, check_same_dim


@torch.no_grad()
def build_classifier(
    encode_texts: Callable[[list[str]], torch.Tensor],
    class_names: Sequence[str],
    templates: Sequence[PromptTemplate],
    batch_size: int = 256,
) -> torch.Tensor:
    """Embeds every class as the normalized mean of its normalized prompt embeddings.

    class_embeds_c = l2norm( mean_p text_embeds(template_p(name_c)) )

    Args:
        encode_texts: from n sentences to (n, projection_dim) L2-normalized embeddings.
        class_names: num_classes names.
        templates: strings with one `{}`, or callables.
        batch_size: most sentences in one call of `encode_texts`.

    Returns:
        (num_classes, projection_dim), rows L2-normalized, in float32 (float64 stays), on the encoder's device.

    Raises:
        ValueError: names or templates as in `fill_templates`; an encoder that returns another number of rows, or
            rows that are not finite or not normalized.

    Source: CLOOB (arXiv 2110.11316), zero-shot evaluation; the ensemble of CLIP (arXiv 2103.00020, section 3.1.4).
        No retrieval takes part.
    """
    check_positive(batch_size=batch_size)
    prompts = fill_templates(class_names, templates)
    num_templates = len(templates)
    classes_at_once = max(1, batch_size // num_templates)
    class_embeds = []
    for start in range(0, len(prompts), classes_at_once):
        sentences = [sentence for filled in prompts[start : start + classes_at_once] for sentence in filled]
        batches = [sentences[begin : begin + batch_size] for begin in range(0, len(sentences), batch_size)]
        embeds = torch.cat([_encode(encode_texts, batch) for batch in batches])
        class_embeds.append(F.normalize(embeds.view(-1, num_templates, embeds.shape[-1]).mean(dim=1), dim=-1))
    return torch.cat(class_embeds)


def _encode(encode_texts: Callable[[list[str]], torch.Tensor], sentences: list[str]) -> torch.Tensor:
    embeds = check_embeds("the output of encode_texts", encode_texts(sentences))
    if len(embeds) != len(sentences):
        raise ValueError(f"encode_texts returned {len(embeds)} rows for {len(sentences)} sentences.")
    return embeds


@torch.no_grad()
def top_k_hits(
    image_embeds: torch.Tensor,
    class_embeds: torch.Tensor,
    targets: torch.Tensor,
    ks: Sequence[int] = (1, 5),
    candidates: torch.Tensor | Sequence[int] | None = None,
    chunk_size: int = 1024,
) -> torch.Tensor:
    """Says for every image whether its class is among the k classes of highest cosine.

    An image is a hit at k when fewer than k other candidates reach its own class's score. A tie (scores within
    1e-6) counts against the model, so that constant embeddings score 0; with at most k candidates all are hits.

    Args:
        image_embeds: (num_images, projection_dim), rows L2-normalized.
        class_embeds: (num_classes, projection_dim), rows L2-normalized.
        targets: (num_images,) int64, each image's class.
        ks: cut-offs.
        candidates: int64 indices of the classes that compete; None: all.
        chunk_size: images scored at a time; memory is chunk_size × num_candidates scores.

    Returns:
        (num_images, len(ks)) bool.

    Raises:
        ValueError: embeddings of different projection_dim, not finite or not normalized; a target that is no class
            or no candidate; a repeated candidate; a k below 1.
    """
    ks = check_ks(ks)
    check_positive(chunk_size=chunk_size)
    image_embeds, class_embeds = check_embeds("image_embeds", image_embeds), check_embeds("class_embeds", class_embeds)
    check_same_dim(image_embeds=image_embeds, class_embeds=class_embeds)
    targets = check_indices("targets", targets, len(image_embeds), len(class_embeds), "the classes")
    targets = targets.to(image_embeds.device)
    class_embeds = class_embeds.to(image_embeds)
    if candidates is not None:
        class_embeds, targets = _restrict(class_embeds, targets, candidates)
    cutoffs = torch.tensor(ks, device=image_embeds.device)
    hits = []
    # Autocast would score in half precision, where cosines of many classes coincide.
    with torch.autocast(image_embeds.device.type, enabled=False):
        for images, classes in zip(image_embeds.split(chunk_size), targets.split(chunk_size), strict=True):
            scores = images @ class_embeds.T
            own = scores.gather(1, classes[:, None])
            # The own class always reaches its own score: one is subtracted.
            ahead = (scores >= own - TIE_TOLERANCE).sum(dim=1) - 1
            hits.append(ahead[:, None] < cutoffs)
    return torch.cat(hits)


def _restrict(
    class_embeds: torch.Tensor, targets: torch.Tensor, candidates: torch.Tensor | Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keeps the candidates' rows and renumbers the targets to match."""
    num_classes = len(class_embeds)
    candidates = check_indices("candidates", candidates, None, num_classes, "the classes").to(targets.device)
    if len(candidates.unique()) != len(candidates):
        values, counts = candidates.unique(return_counts=True)
        raise ValueError(f"candidates names class {int(values[counts > 1][0])} more than once.")
    position = torch.full((num_classes,), -1, device=targets.device)
    position[candidates] = torch.arange(len(candidates), device=targets.device)
    restricted = position[targets]
    missing = (restricted < 0).nonzero().flatten()
    if missing.numel():
        place = int(missing[0])
        raise ValueError(f"targets[{place}] is class {int(targets[place])}, which is not among the candidates.")
    return class_embeds[candidates], restricted


def zero_shot_metrics(
    image_embeds: torch.Tensor,
    class_embeds: torch.Tensor,
    targets: torch.Tensor,
    ks: Sequence[int] = (1, 5),
    candidates: torch.Tensor | Sequence[int] | None = None,
    chunk_size: int = 1024,
) -> dict[str, float]:
    """Top-k accuracy over images, and its mean over classes, as fractions from 0 to 1.

    `top{k}` is the share of images that are hits at k. `mean_per_class_top{k}` is the mean, over the classes that
    have images, of each class's own share: rare classes weigh as much as common ones.

    Args, ties and errors: as in `top_k_hits`.

    Returns:
        `top1`, `top5`, `mean_per_class_top1`, `mean_per_class_top5` for the default ks.
    """
    ks = check_ks(ks)
    hits = top_k_hits(image_embeds, class_embeds, targets, ks, candidates, chunk_size).double().cpu()
    _, classes, counts = torch.as_tensor(targets).cpu().unique(return_inverse=True, return_counts=True)
    per_class = torch.zeros(len(counts), len(ks), dtype=hits.dtype).index_add_(0, classes, hits) / counts[:, None]
    metrics = {f"top{k}": float(value) for k, value in zip(ks, hits.mean(dim=0), strict=True)}
    return metrics | {
        f"mean_per_class_top{k}": float(value) for k, value in zip(ks, per_class.mean(dim=0), strict=True)
    }
