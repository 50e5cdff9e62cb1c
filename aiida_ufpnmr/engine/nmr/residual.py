"""Partially averaged tensors: the coupling that is left when an ion has seen its surroundings, or all sites."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aiida_ufpnmr.engine.efg.isotopes import Isotope
from aiida_ufpnmr.engine.efg.tensors import from_irreps
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.nmr.principal import coupling_and_asymmetry
from aiida_ufpnmr.engine.nmr.runs import COMPONENTS, EfgRuns

#: <ω_Q ω_Q'> over directions of the field, in units of V:V'.
POWDER = 2 / 15
#: Parts of the time whose means are multiplied with one another, never with themselves: noise drops out.
PARTS = 8
#: Standard deviation of |mean|² of many independent tensors, in units of its mean: chi-squared of five components.
SCATTER = np.sqrt(2 / 5)

RESIDUAL = 'residual coupling'
CHANCE = 'no residual coupling beyond what so few ions leave by chance'


@dataclass(frozen=True)
class ResidualCoupling:
    """Mean squares of ω_Q in a powder, kHz², of tensors that are averaged more and more.

    Attributes:
        total: of the tensors as they are.
        ion, ion_error: of the mean tensor of each ion over the run.
        cell, cell_error: of the mean tensor over all ions and frames.
        chance: what as many independent ions leave of ``ion`` in the mean of all by chance, in a glass without order.
        c_q_khz, eta: of the mean tensor over all ions and frames.
        mean_tensor: (3, 3) of the first run, in kHz (the EFG times eQ/h).
        per_ion: (n_ions, 3, 3) mean tensor of each ion in the first run, in kHz.
    """

    total: float
    ion: float
    ion_error: float
    cell: float
    cell_error: float
    chance: float
    c_q_khz: float
    eta: float
    mean_tensor: np.ndarray
    per_ion: np.ndarray

    @property
    def verdict(self) -> str:
        """Whether what is left of the mean tensor is more than chance and noise."""
        known = self.cell > 2 * self.cell_error and self.cell > self.chance * (1 + 2 * SCATTER)
        return RESIDUAL if known else CHANCE


def residual_coupling(runs: EfgRuns, isotope: Isotope) -> ResidualCoupling:
    """Partially averaged tensors of a trajectory; of several runs, the mean squares are averaged.

    The square of a mean is that of the means of different eighths of the run with one another, so that what fluctuates
    fast adds nothing; errors are those of a jackknife over the eighths.

    Raises:
        InputError: a run of fewer than 16 frames.
    """
    if min(runs.lengths) < 2 * PARTS:
        raise InputError(f'{min(runs.lengths)} frames; partially averaged tensors need at least {2 * PARTS}')
    means = [np.zeros((runs.n_ions, PARTS, 5)) for _ in runs.lengths]
    total = 0.0
    for block in runs.blocks(isotope):
        for run, series in enumerate(block.series):
            components = series[:, COMPONENTS].astype(float)
            total += float((components**2).sum())
            edges = np.linspace(0, components.shape[2], PARTS + 1).astype(int)
            parts = np.add.reduceat(components, edges[:-1], axis=2) / np.diff(edges)
            means[run][block.ions] = np.moveaxis(parts, 1, 2)
    per_ion = [_products(mean) for mean in means]
    cell = [_products(mean.mean(axis=0, keepdims=True)) for mean in means]
    ion, ion_error = (np.mean(x) for x in zip(*((float(v.mean()), _error(v)) for v in per_ion)))
    of_cell, cell_error = (np.mean(x) for x in zip(*((float(v.mean()), _error(v)) for v in cell)))
    count = np.sqrt(len(means))
    tensors = means[0].mean(axis=1)
    mean_tensor = from_irreps(tensors.mean(axis=0))
    coupling, eta = coupling_and_asymmetry(mean_tensor)
    return ResidualCoupling(
        total=POWDER * total / (runs.n_ions * sum(runs.lengths)),
        ion=POWDER * max(ion, 0.0),
        ion_error=POWDER * ion_error / count,
        cell=POWDER * max(of_cell, 0.0),
        cell_error=POWDER * cell_error / count,
        chance=POWDER * max(ion, 0.0) / runs.n_ions,
        c_q_khz=float(coupling),
        eta=float(eta),
        mean_tensor=mean_tensor,
        per_ion=from_irreps(tensors),
    )


def _products(mean: np.ndarray) -> np.ndarray:
    """Mean over ions and pairs of different parts of their products, with each part left out in turn, (PARTS,).

    The mean of these is that with all parts.
    """
    gram = np.einsum('ipm,iqm->pq', mean, mean) / len(mean)
    gram[np.diag_indices(PARTS)] = 0.0
    return (gram.sum() - 2 * gram.sum(axis=1)) / ((PARTS - 1) * (PARTS - 2))


def _error(without: np.ndarray) -> float:
    return float(np.sqrt((PARTS - 1) / PARTS * ((without - without.mean()) ** 2).sum()))
