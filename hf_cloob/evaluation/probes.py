# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What labels frozen image embeddings give away: a linear probe and nearest neighbors, both scikit-learn's."""

import logging
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm.auto import tqdm

from .ranking import check_embeds, check_positive

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

logger = logging.getLogger(__name__)

# Inverse regularizations that are tried: unit vectors need little regularization, so the grid reaches far up.
REGULARIZATION_GRID = (0.1, 1.0, 10.0, 100.0, 1000.0)
HELD_OUT_SHARE = 5


def fit_linear_probe(
    train_embeds: torch.Tensor,
    train_targets: torch.Tensor,
    inverse_regularization: float | None = None,
    max_iter: int = 1000,
    seed: int = 0,
    show_progress: bool = False,
) -> "LogisticRegression":
    """Fit a multinomial logistic regression to frozen embeddings.

    Args:
        train_embeds: (num_train, projection_dim), rows L2-normalized.
        train_targets: (num_train,) int64, at least two classes.
        inverse_regularization: scikit-learn's C; None takes the best of `REGULARIZATION_GRID` on a held-out fifth of
            the training images.
        max_iter: most iterations of L-BFGS; reaching them is logged.
        seed: which fifth is held out.
        show_progress: show a progress bar over the regularizations that are tried.

    Returns:
        A classifier for `probe_accuracy`; its `C` is the regularization taken.

    Raises:
        ValueError: embeddings not finite or not normalized; targets of another length; a single class; an
            inverse_regularization that is not above 0.
        ImportError: scikit-learn is missing; the extra `evaluation` brings it.

    Source: CLIP (arXiv 2103.00020, section 3.2 and appendix A.3), which probes the tower before its projection; here
        the shared embeddings are probed.
    """
    embeds, targets = _checked("train", train_embeds, train_targets)
    if len(np.unique(targets)) < 2:
        raise ValueError(f"A linear probe needs at least two classes; all {len(targets)} targets are {targets[0]}.")
    if inverse_regularization is None:
        inverse_regularization = _best_regularization(embeds, targets, max_iter, seed, show_progress)
    elif not inverse_regularization > 0:
        raise ValueError(f"inverse_regularization must be above 0, got {inverse_regularization}.")
    return _fitted(embeds, targets, inverse_regularization, max_iter)


def fit_nearest_neighbors(
    train_embeds: torch.Tensor, train_targets: torch.Tensor, num_neighbors: int = 20
) -> "KNeighborsClassifier":
    """Prepare a vote among the training images of highest cosine, every vote weighing the same.

    Args:
        train_embeds: (num_train, projection_dim), rows L2-normalized.
        train_targets: (num_train,) int64.
        num_neighbors: voters; where two classes have as many votes, the one with the smaller index wins.

    Returns:
        A classifier for `probe_accuracy`.

    Raises:
        ValueError: embeddings not finite or not normalized; targets of another length; num_neighbors below 1 or above
            the number of training images.
        ImportError: scikit-learn is missing; the extra `evaluation` brings it.
    """
    from sklearn.neighbors import KNeighborsClassifier

    check_positive(num_neighbors=num_neighbors)
    embeds, targets = _checked("train", train_embeds, train_targets)
    if num_neighbors > len(embeds):
        raise ValueError(f"num_neighbors must be at most the {len(embeds)} training images, got {num_neighbors}.")
    # Between unit vectors the Euclidean distance ranks as the cosine does, and scikit-learn computes it in blocks.
    return KNeighborsClassifier(num_neighbors, algorithm="brute").fit(embeds, targets)


def probe_accuracy(classifier: Any, test_embeds: torch.Tensor, test_targets: torch.Tensor) -> dict[str, float]:
    """Share of images whose class a fitted probe names.

    Args:
        classifier: what `fit_linear_probe` or `fit_nearest_neighbors` returned.
        test_embeds: (num_test, projection_dim), rows L2-normalized.
        test_targets: (num_test,) int64; an image of a class that has no training image counts as wrong.

    Returns:
        `top1`, over the images, and `mean_per_class_top1`, its mean over the classes that have images; fractions.

    Raises:
        ValueError: embeddings not finite, not normalized or of another projection_dim; targets of another length.
    """
    embeds, targets = _checked("test", test_embeds, test_targets)
    if embeds.shape[1] != classifier.n_features_in_:
        raise ValueError(f"The probe was fitted to projection_dim {classifier.n_features_in_}, got {embeds.shape[1]}.")
    right = classifier.predict(embeds) == targets
    per_class = [right[targets == target].mean() for target in np.unique(targets)]
    return {"top1": float(right.mean()), "mean_per_class_top1": float(np.mean(per_class))}


def _best_regularization(
    embeds: np.ndarray, targets: np.ndarray, max_iter: int, seed: int, show_progress: bool
) -> float:
    order = np.random.default_rng(seed).permutation(len(embeds))
    held_out, fitted = np.split(order, [max(1, len(order) // HELD_OUT_SHARE)])
    if len(np.unique(targets[fitted])) < 2:
        raise ValueError(f"{len(embeds)} images are too few to choose inverse_regularization: give it.")
    accuracies = [
        np.mean(
            _fitted(embeds[fitted], targets[fitted], value, max_iter).predict(embeds[held_out]) == targets[held_out]
        )
        for value in tqdm(REGULARIZATION_GRID, desc="Fitting probes", disable=not show_progress, leave=False)
    ]
    return REGULARIZATION_GRID[int(np.argmax(accuracies))]


def _fitted(
    embeds: np.ndarray, targets: np.ndarray, inverse_regularization: float, max_iter: int
) -> "LogisticRegression":
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    classifier = LogisticRegression(C=inverse_regularization, max_iter=max_iter)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(embeds, targets)
    if classifier.n_iter_.max() >= max_iter:
        logger.warning("The linear probe stopped at max_iter=%d with C=%g.", max_iter, inverse_regularization)
    return classifier


def _checked(side: str, embeds: torch.Tensor, targets: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    embeds, targets = check_embeds(f"{side}_embeds", embeds), torch.as_tensor(targets)
    if targets.shape != embeds.shape[:1]:
        raise ValueError(f"{side}_targets must have shape ({len(embeds)},); got {tuple(targets.shape)}.")
    return embeds.cpu().numpy(), targets.cpu().numpy()
