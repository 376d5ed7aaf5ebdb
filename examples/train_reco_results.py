# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What a run of train_reco.py measures on held-out pairs, and what it leaves in its output folder."""


def validate(run) -> dict[str, float]:
    """Loss and recall@1 on the held-out pairs, both ways; nothing if none are."""
    import torch
    from train_reco_data import batch_inputs

    if not run.data.validation_rows:
        return {}
    inputs = batch_inputs(run.data, torch.tensor(run.data.validation_rows))
    inputs = {name: rows.to(run.accelerator.device) for name, rows in inputs.items()}
    was_training = run.bare_model.training
    run.bare_model.eval()
    with torch.no_grad():
        outputs = run.bare_model(**inputs, return_loss=True)
    run.bare_model.train(was_training)
    losses = {name: outputs[name].item() for name in outputs if name == "loss" or name.endswith("_loss")}
    figures = losses | recall_at_1(outputs.image_embeds, outputs.text_embeds)
    return {f"validation_{name}": value for name, value in figures.items()}


def recall_at_1(image_embeds, text_embeds) -> dict[str, float]:
    """Recall@1 both ways, and their mean, where image i and text i are a pair."""
    import torch

    from hf_cloob.evaluation.retrieval_metrics import recall_at_k

    recalls = recall_at_k(image_embeds, text_embeds, torch.arange(len(text_embeds)), ks=(1,))
    return {"mean_recall@1": sum(recalls.values()) / len(recalls), **recalls}


def finish(run, setup_seconds: float, train_seconds: float) -> dict:
    """Save model, processor and memory, and write metrics.json."""
    import torch
    from torch.nn.functional import normalize

    from hf_cloob.training.run_log import write_metrics

    args, data = run.args, run.data
    metrics = validate(run)
    if data.validation_rows:
        rows = torch.tensor(data.validation_rows)
        base = (normalize(side[rows].float(), dim=-1) for side in (data.pairs.image_embeds, data.pairs.text_embeds))
        metrics |= {f"validation_base_{name}": value for name, value in recall_at_1(*base).items()}
    found = data.neighbors
    metrics |= {
        "train_pairs": len(data.train_rows),
        "validation_pairs": len(data.validation_rows),
        "memory_entries": len(data.memory),
        "num_neighbors": run.bare_model.config.num_neighbors,
        "near_duplicates_per_pair": found.near_duplicates.double().mean().item(),
        "missing_neighbors": int((found.image_rows < 0).sum() + (found.text_rows < 0).sum()),
        "steps": run.state.step,
        "batch_size": run.batch_size,
        "pairs_seen": run.state.step * run.batch_size,
        "seed": args.seed,
        "num_processes": run.accelerator.num_processes,
    }
    model = run.bare_model.eval()
    model.set_memory(data.memory)
    model.save_pretrained(run.output_dir, save_memory=args.save_memory)
    run.processor.save_pretrained(run.output_dir)
    write_metrics(run.output_dir / "metrics.json", metrics)
    # Apart from metrics.json, which two runs of one recipe and seed must write alike to the last digit.
    timing = {"setup_seconds": setup_seconds, "train_seconds": train_seconds}
    write_metrics(run.output_dir / "timing.json", timing)
    for name, value in (metrics | timing).items():
        print(f"{name:45} {value:.4f}" if isinstance(value, float) else f"{name:45} {value}")
    print(f"The model is in {run.output_dir}")
    return metrics
