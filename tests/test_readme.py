# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The README stays true: its Python runs, its commands parse, its table is what commands wrote."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MODEL_CARDS = ("emoji_cloob", "emoji_clip")
COLUMNS = {
    "seen concepts, top-1": "test_seen_top1",
    "top-5": "test_seen_top5",
    "unseen among all, top-1": "test_unseen_top1",
    "unseen among unseen, top-1": "test_unseen_among_unseen_top1",
    "image→text R@1": "test_seen_image_to_text_recall@1",
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def results_table() -> str:
    lines = [f"| recipe | {' | '.join(COLUMNS)} |", "|---|" + "---|" * len(COLUMNS)]
    for card in MODEL_CARDS:
        metrics = json.loads((ROOT / "model_cards" / card / "metrics.json").read_text(encoding="utf-8"))
        figures = " | ".join(f"{100 * metrics[name]:.1f}" for name in COLUMNS.values())
        lines.append(f"| `{card}` | {figures} |")
    return "\n".join(lines)


def test_the_results_table_is_what_the_runs_wrote():
    printed = re.search(r"<!-- results.*?-->\n(.*?)\n<!-- /results -->", README, flags=re.DOTALL).group(1)
    assert printed == results_table()


def objective_table() -> str:
    measured = json.loads((ROOT / "examples/benchmark_results/objective.json").read_text(encoding="utf-8"))
    forms = ("blockwise", "dense", "published", "sdpa")
    lines = [
        f"| pairs | {' | '.join(f'{form}, s' for form in forms)} | {' | '.join(f'{form}, GiB' for form in forms)} |"
    ]
    lines.append("|---" * 9 + "|")
    for size in sorted(int(name.rsplit("_", 1)[1]) for name in measured if name.startswith("blockwise_seconds_")):
        cells = [measured.get(f"{form}_{unit}_{size}") for unit in ("seconds", "gib") for form in forms]
        lines.append(f"| {size:,} | {' | '.join('–' if cell is None else f'{cell:.2f}' for cell in cells)} |")
    return "\n".join(lines)


def test_the_table_of_the_objective_is_what_its_benchmark_wrote():
    printed = re.search(r"<!-- objective.*?-->\n(.*?)\n<!-- /objective -->", README, flags=re.DOTALL).group(1)
    assert printed == objective_table()


MEMORY_COLUMNS = {
    "on disk, GB": ("disk_gb", ".3f"),
    "opens in, s": ("open_seconds", ".3f"),
    "exact (torch)": ("exact_queries_per_second_batch_16", ",.0f"),
    "FAISS flat": ("flat_queries_per_second_batch_16", ",.0f"),
    "FAISS HNSW": ("hnsw_queries_per_second_batch_16", ",.0f"),
    "HNSW recall@10": ("hnsw_recall", ".4f"),
    "encoder share": ("hnsw_share_of_encoder", ".1%"),
}


def memory_table() -> str:
    measured = json.loads((ROOT / "examples/benchmark_results/memory.json").read_text(encoding="utf-8"))
    lines = [f"| entries | {' | '.join(MEMORY_COLUMNS)} |", "|---" * (len(MEMORY_COLUMNS) + 1) + "|"]
    for size in sorted(int(name.rsplit("_", 1)[1]) for name in measured if name.startswith("disk_gb_")):
        cells = [format(measured[f"{name}_{size}"], form) for name, form in MEMORY_COLUMNS.values()]
        lines.append(f"| {size:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def test_the_table_of_the_memory_is_what_its_benchmark_wrote():
    printed = re.search(r"<!-- memory.*?-->\n(.*?)\n<!-- /memory -->", README, flags=re.DOTALL).group(1)
    assert printed == memory_table()


STUDY_METHODS = {
    "base": "the base, no memory",
    "random_neighbors": "random neighbors",
    "mean_of_neighbors": "mean of the neighbors",
    "hopfield_image": "Hopfield readout, images",
    "hopfield_text": "Hopfield readout, prompts",
    "hopfield_both": "Hopfield readout, both",
    "knn_vote": "k-NN vote on captions",
    "tip_adapter": "Tip-Adapter's cache",
    "class_name_lookup": "class name looked up in captions",
    "best_control": "*best of these on the selection half*",
    "reco_from_zero": "RECO, trained from the identity",
    "whitened_readout": "RECO, readout on both sides with its matrix",
    "reco": "RECO, trained from there",
}
STUDY_QUERIES = {"flags": "flags/in_memory", "fine emoji": "noto/in_memory", "fine emoji, removed": "noto/removed"}


def study_table() -> str:
    measured = json.loads((ROOT / "examples/study_results/reco_flags/metrics.json").read_text(encoding="utf-8"))
    lines = [f"| method | {' | '.join(STUDY_QUERIES)} |", "|---" * (len(STUDY_QUERIES) + 1) + "|"]
    for method, name in STUDY_METHODS.items():
        ends = [
            [100 * measured[f"{queries}/{method}_{end}"] for end in ("mean", "low", "high")]
            for queries in STUDY_QUERIES.values()
        ]
        cells = [f"{mean:.1f} [{low:.1f}, {high:.1f}]" for mean, low, high in ends]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def test_the_table_of_the_retrieval_study_is_what_the_study_wrote():
    printed = re.search(r"<!-- study.*?-->\n(.*?)\n<!-- /study -->", README, flags=re.DOTALL).group(1)
    assert printed == study_table()


GAP_ROWS = {"clip": "CLIP", "cua": "CUA", "cuaxu": "CUAXU", "cloob": "CLOOB", "cloob_cuaxu": "CLOOB + CUAXU"}
GAP_COLUMNS = {"zero-shot": "zero_shot", "text→image R@1": "text_to_image", "arithmetic": "arithmetic"}


def gap_table() -> str:
    measured = json.loads((ROOT / "examples/study_results/gap/metrics.json").read_text(encoding="utf-8"))
    lines = [
        f"| objective | t | distance, d = 128 | d = 32 | separable | {' | '.join(GAP_COLUMNS)} |",
        "|---" * 8 + "|",
    ]
    for scale, scale_name in (("fixed", "100"), ("own", "its own")):
        for objective, name in GAP_ROWS.items():
            wide, narrow = (f"{objective}_d{dim}_{scale}" for dim in (128, 32))
            distances = [measured.get(f"{setting}/centroid_distance") for setting in (wide, narrow)]
            cells = ["–" if distance is None else f"{distance:.2f}" for distance in distances]
            cells.append(f"{100 * measured[f'{wide}/separability']:.0f} %")
            for column in GAP_COLUMNS.values():
                mean, low, high = (100 * measured[f"{wide}/{column}{end}"] for end in ("", "_low", "_high"))
                cells.append(f"{mean:.1f} [{low:.1f}, {high:.1f}]")
            lines.append(f"| {name} | {scale_name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def test_the_table_of_the_gap_is_what_the_study_wrote():
    printed = re.search(r"<!-- gap.*?-->\n(.*?)\n<!-- /gap -->", README, flags=re.DOTALL).group(1)
    assert printed == gap_table()


FINETUNE_SETTINGS = {
    "full": "all weights",
    "layer_wise": "layer-wise rates",
    "frozen_text": "text tower locked",
    "lora": "LoRA",
}
FINETUNE_COLUMNS = {"new": "test_top1", "known": "known_test_top1"}


def finetune_table() -> str:
    measured = json.loads((ROOT / "examples/study_results/finetune/metrics.json").read_text(encoding="utf-8"))
    lines = ["| | new | known | new, WiSE-FT | known, WiSE-FT | alpha |", "|---" * 6 + "|"]
    before = [100 * measured[f"full/before_{name}_mean"] for name in FINETUNE_COLUMNS.values()]
    lines.append(f"| the start | {before[0]:.1f} | {before[1]:.1f} | | | |")
    for setting, name in FINETUNE_SETTINGS.items():
        prefixes = ("", "interpolated_")
        figures = [
            100 * measured[f"{setting}/{prefix}{metric}_mean"]
            for prefix in prefixes
            for metric in FINETUNE_COLUMNS.values()
        ]
        cells = " | ".join(f"{figure:.1f}" for figure in figures)
        lines.append(f"| {name} | {cells} | {measured[f'{setting}/interpolated_alpha_mean']:g} |")
    return "\n".join(lines)


def test_the_table_of_fine_tuning_is_what_its_sweep_wrote():
    printed = re.search(r"<!-- finetune.*?-->\n(.*?)\n<!-- /finetune -->", README, flags=re.DOTALL).group(1)
    assert printed == finetune_table()


EXPLAINED = {
    "linear probe, recall@5": ("probe", "recall@5"),
    "retrieval by name, recall@5": ("retrieval", "recall@5"),
    "true or changed caption": ("forced_choice", "accuracy"),
}


def explaining_away_table() -> str:
    folder = ROOT / "examples/study_results/explaining_away"
    measured = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    lines = [f"| object | model | {' | '.join(EXPLAINED)} |", "|---" * (2 + len(EXPLAINED)) + "|"]
    # The models first, then their differences.
    settings = sorted({name.split("/")[0] for name in measured if "/" in name}, key=lambda name: ("-" in name, name))
    for role in ("most", "least"):
        for setting in settings:
            names = [f"{setting}/{measure}_{role}_{figure}" for measure, figure in EXPLAINED.values()]
            sign = "+" if "-" in setting else ""
            ends = [[100 * measured[name + end] for end in ("", "_low", "_high")] for name in names]
            cells = [f"{mean:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]" for mean, low, high in ends]
            lines.append(f"| {role} salient | {setting.replace('-', ' − ')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def test_the_table_of_explaining_away_is_what_the_study_wrote():
    printed = re.search(
        r"<!-- explaining_away.*?-->\n(.*?)\n<!-- /explaining_away -->", README, flags=re.DOTALL
    ).group(1)
    assert printed == explaining_away_table()


def test_every_relative_link_and_picture_exists():
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_every_command_names_a_make_target_or_an_example_and_flags_that_exist():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    commands = [
        line.split("  #")[0].strip() for block in blocks("bash") for line in block.splitlines() if line.strip()
    ]
    assert len(commands) >= 5
    for command in commands:
        words = shlex.split(command)
        if words[0] == "make":
            assert words[1] in targets, command
            continue
        script = next(index for index, word in enumerate(words) if word.startswith("examples/"))
        shown = subprocess.run(
            [sys.executable, ROOT / words[script], "--help"], capture_output=True, text=True, check=True
        ).stdout
        for word in words[script + 1 :]:
            assert (ROOT / word).is_file() if word.endswith(".yaml") else True, command
            assert f"{word} " in shown if word.startswith("--") else True, command


@pytest.mark.slow
def test_the_python_of_the_readme_runs_on_a_freshly_trained_model(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    flags = ["--max_train_steps", "2", "--warmup_steps", "1", "--batch_size", "32", "--num_workers", "0"]
    train = [sys.executable, str(ROOT / "examples/pretrain.py"), *flags]
    subprocess.run(train, cwd=tmp_path, env=environment, check=True, capture_output=True)
    code = "\n".join(blocks("python"))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
