# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The matrix products under the blockwise objectives: in which precision their operands are, and who multiplies them.

Sums of products are float32 at least, whatever the operands. Operands are the float32 or float64 matrices themselves
(`FULL`), or, where a GPU multiplies half-precision inputs, float16 (`HALF`): with 11 significant bits it holds eight
times as much of a weight as bfloat16, and as its range is short, every kind of operand is first multiplied by a power
of two, its unit, which is exact and is divided out of the float32 sums. TF32 is torch's own setting and applies to
float32 operands.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch

HALF_DTYPES = (torch.float16, torch.bfloat16)


class Operand(NamedTuple):
    """A matrix of embeddings and what stands for it in products.

    Attributes:
        rows: (num_rows, projection_dim), float32 or float64.
        values: the same times `Precision.row_unit` in the dtype of the products; `rows` itself in full precision.
    """

    rows: torch.Tensor
    values: torch.Tensor


@dataclass(frozen=True)
class Precision:
    """What the operands of products are: their dtype, and the units that keep them in its range.

    Attributes:
        dtype: of the operands; None: as they come, and all units are 1.
        row_unit: of embeddings. Of unit rows, float16 then holds every float16 number and every bfloat16 number above
            2^-25 as it is, and no component below 255 overflows.
        share_unit: of embeddings times a softmax's factors in (0, 1], which may be 1/batch_size.
        weight_unit: of exponentials and sigmoids, at most 1, and of sums of two: a quarter of float16's range.
        gradient_limit: bound of the rows of gradients in their unit.
        largest_shared_scale: up to here all scores of unit rows can share one shift: exp(-2 scale) times the unit of
            weights is still a normal number.
    """

    dtype: torch.dtype | None = None
    row_unit: float = 1.0
    share_unit: float = 1.0
    weight_unit: float = 1.0
    gradient_limit: float = 1.0
    largest_shared_scale: float = 40.0

    def cast(self, matrix: torch.Tensor, unit: float | torch.Tensor) -> torch.Tensor:
        """unit * matrix in the dtype of the operands, in one pass; the matrix itself in full precision."""
        return matrix if self.dtype is None else torch.mul(matrix, unit, out=self.empty_like(matrix))

    def empty_like(self, matrix: torch.Tensor) -> torch.Tensor:
        """An uninitialized operand of the matrix's shape."""
        return torch.empty_like(matrix, dtype=self.dtype)

    def operand(self, rows: torch.Tensor) -> Operand:
        """Embeddings with what stands for them in products."""
        return Operand(rows, self.cast(rows, self.row_unit))

    def scaled(self, operand: Operand, rows: slice, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Left operand of the scores of some rows, and the factor that is still missing in its products.

        In full precision the scale is in the operand and nothing is missing. A half operand stays as it is, without
        another rounding; its scale costs nothing where the scores are shifted (`blockwise_exponentials.shift_`).
        """
        if self.dtype is None:
            return scale * operand.rows[rows], None
        return operand.values[rows], scale / self.row_unit**2

    def gradient_unit(self, *gradients: torch.Tensor) -> torch.Tensor | float:
        """A power of two, on the device, that brings the longest row of gradients to at most `gradient_limit`."""
        if self.dtype is None:
            return 1.0
        bound = sum(torch.linalg.vector_norm(gradient, dim=1).amax() for gradient in gradients)
        exponent = torch.frexp(bound).exponent
        return torch.ldexp(torch.full_like(bound, self.gradient_limit), -exponent)

    @property
    def slope_unit(self) -> float:
        """Of products of a weight and a gradient, so that both limits together stay in range."""
        return 1.0 if self.dtype is None else 1 / (self.row_unit * self.gradient_limit)


FULL = Precision()
HALF = Precision(
    dtype=torch.float16,
    row_unit=2.0**8,
    share_unit=2.0**12,
    weight_unit=2.0**14,
    gradient_limit=2.0**14,
    # exp(-18) is 2^-26, and float16 is normal from 2^-14 on.
    largest_shared_scale=9.0,
)


def wants_half_operands(*inputs: torch.Tensor) -> bool:
    """Whether the products of these embeddings get half operands: a GPU, and half precision is what the user chose.

    That is so where all inputs are float16 or bfloat16, or where float32 inputs meet autocast to one of the two
    (`CloobModel` normalizes its embeddings in float32). Everywhere else products are float32 or float64: on the CPU
    half operands would be slower, and ROCm's products have no float32 result.
    """
    if inputs[0].device.type != "cuda" or torch.version.hip is not None:
        return False
    if all(tensor.dtype in HALF_DTYPES for tensor in inputs):
        return True
    is_wider = any(tensor.dtype not in (*HALF_DTYPES, torch.float32) for tensor in inputs)
    return not is_wider and torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda") in HALF_DTYPES


def score_block(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """rows columns^T, a new matrix, float32 for half operands."""
    if rows.dtype in HALF_DTYPES:
        if rows.device.type != "cpu":
            return torch.mm(rows, columns.T, out_dtype=torch.float32)
        # The same numbers: a product of two halves is exact in float32, in which both sum them.
        rows, columns = rows.float(), columns.float()
    if _use_onednn(rows):
        return torch.ops.mkldnn._linear_pointwise(rows, columns, None, "none", [], "")
    return rows @ columns.T


def add_product_(
    into: torch.Tensor, left: torch.Tensor, right: torch.Tensor, factor: torch.Tensor | float = 1.0
) -> torch.Tensor:
    """into += factor left right"""
    if isinstance(factor, torch.Tensor):
        return into.addcmul_(score_block(left, right.T), factor)
    if left.dtype in HALF_DTYPES or _use_onednn(left):
        return into.add_(score_block(left, right.T), alpha=factor)
    return into.addmm_(left, right, alpha=factor)


def _use_onednn(operand: torch.Tensor) -> bool:
    """Whether float32 products on the CPU go to oneDNN, which torch is built with, instead of to torch's BLAS.

    MKL takes the slow path on CPUs of other makers: on an AMD EPYC with AVX-512, oneDNN is about twice as fast. The
    choice is a property of the machine, not a measurement, so that two runs on it give the same bits. The operator is
    not public; without it, torch's products serve.
    """
    return (
        operand.dtype == torch.float32
        and operand.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )
