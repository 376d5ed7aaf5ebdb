# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""SIMAT's tables, on a small folder in their layout, and its weighted score."""

import pytest
import torch
from torch.nn.functional import normalize

from hf_cloob.evaluation.simat import load_simat, simat_annotation_score, simat_found, simat_score

# dataset_id is not the order of the file, as in SIMAT's own.
TRIPLETS = """region_id,subj,rel,obj,dataset_id
61,dog,laying in,bed,2
70,cat,laying in,bed,0
12,cat,sitting on a,bed,1
99,dog,laying in,grass,3
"""
# The dataset_id of this file is not that of the other, as in SIMAT's own.
TRANSFOS = """,transfo_id,region_id,field,value,target,norm,query_ids,target_ids,dataset_id,norm2,is_test
3,3,61,subj,dog,cat,26,1,0,7,4,True
4,4,70,rel,laying in,sitting on a,26,0,2,7,16,True
5,5,61,obj,bed,grass,26,1,3,7,4,True
8,8,99,subj,dog,cat,26,3,0,7,25,False
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "triplets.csv").write_text(TRIPLETS)
    (tmp_path / "transfos.csv").write_text(TRANSFOS)
    return tmp_path


def embeds() -> tuple[torch.Tensor, torch.Tensor]:
    """One axis a word; an image is the sum of its three, which makes the arithmetic exact."""
    axes = dict(zip(["dog", "cat", "laying in", "sitting on a", "bed", "grass"], torch.eye(6), strict=True))
    rows = [("cat", "laying in", "bed"), ("cat", "sitting on a", "bed"), ("dog", "laying in", "bed")]
    images = torch.stack([sum(axes[part] for part in row) for row in [*rows, ("dog", "laying in", "grass")]])
    words = ["bed", "cat", "dog", "grass", "laying in", "sitting on a"]
    return normalize(images, dim=-1), torch.stack([axes[word] for word in words])


def test_the_tables_become_rows_of_images_and_words(folder):
    simat = load_simat(folder)
    assert [path.relative_to(folder).as_posix() for path in simat.image_paths] == [
        f"images/images/{region}.png" for region in (70, 12, 61, 99)
    ]
    assert simat.annotations[2] == ("dog", "laying in", "bed")
    assert simat.words == ["bed", "cat", "dog", "grass", "laying in", "sitting on a"]
    assert simat.source_images.tolist() == [2, 0, 2]
    assert [simat.words[row] for row in simat.source_texts] == ["dog", "laying in", "bed"]
    assert [simat.words[row] for row in simat.target_texts] == ["cat", "sitting on a", "grass"]
    assert simat.wanted[1] == ("cat", "sitting on a", "bed")
    assert simat.target_captions.tolist() == [0, 2, 3] and simat.parts == ["subj", "rel", "obj"]
    # 1/√4, 1/√16 and 1/√4, over their sum.
    assert simat.weights.tolist() == pytest.approx([0.4, 0.2, 0.4])


def test_the_domains_are_apart(folder):
    dev = load_simat(folder, "dev")
    assert dev.source_images.tolist() == [3] and dev.words == ["cat", "dog"] and dev.weights.tolist() == [1.0]
    assert len(dev.image_paths) == 4


def test_arithmetic_finds_the_wanted_images_and_never_the_source(folder):
    simat = load_simat(folder)
    assert simat_found(*embeds(), simat).tolist() == [0, 1, 3]
    assert simat_annotation_score(simat_found(*embeds(), simat), simat) == pytest.approx(1.0)
    assert not (simat_found(*embeds(), simat, scale=0.0) == simat.source_images).any()


def test_the_score_is_the_weight_of_what_the_judge_finds_right(folder):
    simat = load_simat(folder)
    judgments = torch.zeros(4, 4)
    judgments[0, 0], judgments[1, 2], judgments[3, 3] = 0.9, 0.5, 0.51
    # 0.5 itself is not right.
    assert simat_score(torch.tensor([0, 1, 3]), simat, judgments) == pytest.approx(0.8)
    assert simat_annotation_score(torch.tensor([0, 0, 0]), simat) == pytest.approx(0.4)
    with pytest.raises(ValueError, match="judgments must have 4 rows"):
        simat_score(torch.tensor([0, 1, 3]), simat, judgments[:3])
    with pytest.raises(ValueError, match="judgments has 3 captions; a question wants caption 3"):
        simat_score(torch.tensor([0, 1, 3]), simat, judgments[:, :3])


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("transfos.csv", "norm2", "norm3", "has no column norm2"),
        ("transfos.csv", "5,5,61,obj", "5,5,62,obj", "asks about region 62"),
        ("transfos.csv", "5,5,61,obj", "5,5,61,attr", "changes the field 'attr'"),
        ("transfos.csv", "26,1,3,7,4", "26,1,3,7,four", "norm2 of region 61 is 'four'"),
        ("triplets.csv", "grass,3", "grass,4", "must count its 4 images from 0"),
        ("transfos.csv", "True", "False", "has no question of domain 'test'"),
    ],
)
def test_a_broken_table_is_named(folder, file, old, new, message):
    path = folder / file
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        load_simat(folder)


def test_other_mistakes_are_named(folder, tmp_path):
    with pytest.raises(ValueError, match="domain must be 'dev' or 'test'; got 'train'"):
        load_simat(folder, "train")
    with pytest.raises(ValueError, match="does not read as a table"):
        load_simat(tmp_path / "nowhere")
    images, words = embeds()
    with pytest.raises(ValueError, match="got 3 image_embeds and 6 text_embeds for 4 images and 6 words"):
        simat_found(images[:3], words, load_simat(folder))
