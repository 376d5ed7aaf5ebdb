# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Before and after: the model that training started from, the fine-tuned one, and the best one between them."""

import re
from pathlib import Path

from pretrain_model import START_FOLDER, adapter_base, start_model

INTERPOLATED_FOLDER = "interpolated"
# What the table shows, in this order: shares, as flat metrics name them.
SHOWN = re.compile(r"(known_)?(selection|test\w*)_(top\d+|(image_to_text|text_to_image|mean)_recall@\d+)")


def compare_with_start(args, model, processor, evaluate, after: dict, output_dir: Path) -> dict:
    """Measure the start and, if the flags ask for it, the models between; write the table, the plot and the model.

    Args:
        model: the fine-tuned model, as saved.
        after: its metrics.

    Returns:
        `before_` and the start's metrics; with interpolation also `interpolated_` and the chosen model's, and
        `alpha_A_selection` and `alpha_A_known_selection` along the way.
    """
    start = start_model(args).to(model.device).eval()
    if args.lora_rank and adapter_base(args) == str(Path(args.output_dir, START_FOLDER)):
        start.save_pretrained(output_dir / START_FOLDER)
    before = evaluate(start, processor, final=True)
    metrics = {f"before_{name}": value for name, value in before.items()}
    columns = {"before": before, "after": after}
    if args.interpolate_with_start:
        figures, chosen, alpha = interpolate(args, start, model, processor, evaluate, (before, after), output_dir)
        metrics |= figures | {f"interpolated_{name}": value for name, value in chosen.items()}
        columns[f"interpolated, alpha {alpha:g}"] = chosen
    table = before_after_table(columns)
    (output_dir / "before_after.md").write_text(table, encoding="utf-8")
    print(table)
    if not any(name.startswith("known_") for name in after):
        print("What the checkpoint knew was not measured: name a task of its own with --known_dataset_name.")
    return metrics


def interpolate(args, start, model, processor, evaluate, ends: tuple[dict, dict], output_dir: Path):
    """Walk from the start to the fine-tuned model, choose on selection data, save the model and draw the curve.

    Returns:
        the curve as flat metrics, the chosen model's final metrics, and its alpha. The model is the fine-tuned one
        with other weights, and has its objective.
    """
    from hf_cloob.evaluation.interpolation_plot import interpolation_plot
    from hf_cloob.training.interpolation import ALPHAS, WeightPoint, choose_alpha, interpolate_weights

    new, known = (selection_metric(ends[1], prefix) for prefix in ("selection_", "known_selection_"))
    # Both were built with the flags' objective, so their weights have the same names.
    weights = [{name: tensor.clone() for name, tensor in each.state_dict().items()} for each in (start, model)]
    points = []
    for alpha in ALPHAS:
        model.load_state_dict(interpolate_weights(*weights, alpha))
        figures = evaluate(model, processor, final=False)
        points.append(WeightPoint(alpha, figures[new], figures[known]))
    chosen = choose_alpha(points, args.max_known_loss)
    model.load_state_dict(interpolate_weights(*weights, chosen.alpha))
    folder = output_dir / INTERPOLATED_FOLDER
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    metrics = evaluate(model, processor, final=True)
    curve = {f"alpha_{point.alpha:g}_selection": point.new for point in points}
    curve |= {f"alpha_{point.alpha:g}_known_selection": point.known for point in points}
    tests = [tuple(each[name.replace("selection", "test")] for name in (known, new)) for each in (*ends, metrics)]
    try:
        interpolation_plot(points, chosen.alpha, tests, output_dir / "interpolation.png", (new, known))
    except ImportError as error:
        print(f"No interpolation.png: {error}")
    return curve | {"interpolated_alpha": chosen.alpha}, metrics, chosen.alpha


def selection_metric(metrics: dict, prefix: str) -> str:
    """The first metric of a task, the one that checkpoints are chosen by."""
    return next(name for name in metrics if name.startswith(prefix))


def before_after_table(columns: dict[str, dict]) -> str:
    """Markdown: one row a figure in percent, a column a model, and what the last model gained over the first."""
    shown = [name for name in next(iter(columns.values())) if SHOWN.fullmatch(name)]
    shown = [name for name in shown if "selection" not in name] or shown
    lines = [f"| | {' | '.join(columns)} | change |", "|---" * (len(columns) + 2) + "|"]
    for name in shown:
        figures = [100 * metrics[name] for metrics in columns.values()]
        cells = [f"{figure:.1f}" for figure in figures]
        lines.append(f"| {name} | {' | '.join(cells)} | {figures[-1] - figures[0]:+.1f} |")
    return "\n".join(lines) + "\n"
