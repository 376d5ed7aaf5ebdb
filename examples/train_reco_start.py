# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Where the fusion layers of train_reco.py start, and how fast each of their parameters learns."""

# Pairs that the readout of a new model is fitted to; all of them are candidates of each.
FITTED_PAIRS = 1000


def start_from_readout(model, data, seed: int) -> None:
    """Give new fusion layers the Hopfield readout that finds the texts of some training pairs best among themselves.

    Held-out pairs take no part. A readout needs no training; from layers that change nothing, training gets nowhere
    near it on a few thousand pairs.

    Args:
        model: the [`RecoForZeroShot`]; its number of neighbors stays.
        data: pairs and the neighbors that they found without their own entries.
        seed: of the choice of pairs.
    """
    import torch

    from hf_cloob.retrieval.control_fitting import fit_hopfield, set_readout
    from hf_cloob.retrieval.controls import Readout

    order = torch.randperm(len(data.train_rows), generator=torch.Generator().manual_seed(seed)).tolist()
    # Two pairs of one caption would be two right answers.
    by_caption = {data.train_keys[index] or index: data.train_rows[index] for index in order}
    rows = torch.tensor(list(by_caption.values())[:FITTED_PAIRS])
    k = model.config.num_neighbors
    fitted = fit_hopfield([lookup_of_pairs(data, rows)], torch.arange(len(rows)), num_neighbors=(k,))
    set_readout(model, Readout(**fitted.settings))


def lookup_of_pairs(data, rows):
    """Some pairs and what they found, in the form of the training-free controls: the texts are the classes."""
    from train_reco_data import batch_inputs

    from hf_cloob import RecoNeighbors
    from hf_cloob.retrieval.controls import Lookup

    inputs = {name: part.float() for name, part in batch_inputs(data, rows).items()}
    found = [
        RecoNeighbors(inputs[f"{side}_neighbor_embeds"], ids[rows], inputs[f"{side}_neighbor_scores"])
        for side, ids in (("image", data.neighbors.image_rows), ("text", data.neighbors.text_rows))
    ]
    return Lookup(inputs["image_embeds"], inputs["text_embeds"], *found)


def build_fusion_optimizer(model, args):
    """AdamW with a learning rate of their own for the three numbers of each readout, and a tenth of it for its matrix.

    The numbers have to move by tenths and by whole units, the matrix by hundredths: at the rate of the rest of the
    layer, which learns a few thousand pairs by heart unless it is slow, the readout would stay where it is.

    Args:
        model: the [`RecoForZeroShot`].
        args: with learning_rate, readout_learning_rate and weight_decay.
    """
    from hf_cloob.training.optimization import build_optimizer

    optimizer, rate = build_optimizer(model, args.learning_rate, args.weight_decay), args.readout_learning_rate
    fusions = (model.image_fusion, model.text_fusion)
    numbers = [number for fusion in fusions for number in fusion.readout_parameters()]
    matrices = [fusion.readout_proj.weight for fusion in fusions]
    ids = {id(parameter) for parameter in (*numbers, *matrices)}
    for group in optimizer.param_groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in ids]
    optimizer.add_param_group({"params": numbers, "lr": rate, "weight_decay": 0.0})
    optimizer.add_param_group({"params": matrices, "lr": rate / 10, "weight_decay": args.weight_decay})
    return optimizer
