"""Partially averaged tensors: the coupling that is left when an ion has seen its surroundings, or all sites."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aiida_ufpnmr.engine.efg.isotopes import Isotope
from aiida_ufpnmr.engine.efg.tensors import from_irreps
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.nmr.principal import coupling_and_asymmetry
from aiida_ufpnmr.engine.nmr.runs import COMPONENTS, POWDER, EfgRuns
from aiida_ufpnmr.engine.records import Record, quantity

#: Parts of the time whose means are multiplied with one another, never with themselves: noise drops out.
PARTS = 8
#: Standard deviation of |mean|² of many independent tensors, in units of its mean: chi-squared of five components.
SCATTER = np.sqrt(2 / 5)

RESIDUAL = 'residual coupling'
CHANCE = 'no residual coupling beyond what so few ions leave by chance'


@dataclass(frozen=True)
class ResidualCoupling(Record):
    """Partially averaged tensors: rms ω_Q in a powder, and its mean squares as shares of that of all tensors."""

    omega_q_rms_khz: float = quantity('kHz', 'rms ω_Q of the tensors as they are')
    omega_q_rms_ion_means_khz: float = quantity('kHz', 'of the mean tensor of each ion')
    omega_q_rms_cell_mean_khz: float = quantity('kHz', 'of the mean tensor over all ions')
    omega_q_rms_by_chance_khz: float = quantity('kHz', 'that so many independent ions leave by chance')
    share_of_ion_means: float = quantity('', 'mean square of ion means over that of all tensors')
    share_of_ion_means_error: float = quantity('', 'its standard error')
    share_of_cell_mean: float = quantity('', 'mean square of the mean over that of all tensors')
    share_of_cell_mean_error: float = quantity('', 'its standard error')
    c_q_of_mean_tensor_khz: float = quantity('kHz', '|C_Q| of the mean tensor')
    eta_of_mean_tensor: float = quantity('', 'its η')
    mean_tensor_khz: np.ndarray | None = quantity('kHz', 'mean EFG times eQ/h of the first run', '3, 3', default=None)

    @property
    def verdict(self) -> str:
        """Judgement of what is left of the mean tensor: more than chance and noise, or not."""
        chance = (self.omega_q_rms_by_chance_khz / self.omega_q_rms_khz) ** 2
        share = self.share_of_cell_mean
        known = share > 2 * self.share_of_cell_mean_error and share > chance * (1 + 2 * SCATTER)
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
    count = len(means)
    total = total / (runs.n_ions * sum(runs.lengths))
    ion, ion_error = np.mean([_square(mean) for mean in means], axis=0)
    cell, cell_error = np.mean([_square(mean.mean(axis=0, keepdims=True)) for mean in means], axis=0)
    ion, cell = max(ion, 0.0), max(cell, 0.0)
    mean_tensor = from_irreps(means[0].mean(axis=1).mean(axis=0))
    coupling, eta = coupling_and_asymmetry(mean_tensor)
    return ResidualCoupling(
        omega_q_rms_khz=np.sqrt(POWDER * total),
        omega_q_rms_ion_means_khz=np.sqrt(POWDER * ion),
        omega_q_rms_cell_mean_khz=np.sqrt(POWDER * cell),
        omega_q_rms_by_chance_khz=np.sqrt(POWDER * ion / runs.n_ions),
        share_of_ion_means=ion / total,
        share_of_ion_means_error=ion_error / np.sqrt(count) / total,
        share_of_cell_mean=cell / total,
        share_of_cell_mean_error=cell_error / np.sqrt(count) / total,
        c_q_of_mean_tensor_khz=float(coupling),
        eta_of_mean_tensor=float(eta),
        mean_tensor_khz=mean_tensor,
    )


def _square(mean: np.ndarray) -> tuple[float, float]:
    """Mean square of the mean tensors (n, PARTS, 5) without that of their noise, and its error by a jackknife.

    Means of different parts are multiplied, with each part left out in turn; the mean over these is that with all.
    """
    gram = np.einsum('ipm,iqm->pq', mean, mean) / len(mean)
    gram[np.diag_indices(PARTS)] = 0.0
    without = (gram.sum() - 2 * gram.sum(axis=1)) / ((PARTS - 1) * (PARTS - 2))
    error = np.sqrt((PARTS - 1) / PARTS * ((without - without.mean()) ** 2).sum())
    return float(without.mean()), float(error)
