"""Means of |C_Q|, η and ω_Q over groups of ions, or of their frames, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aiida_ufpnmr.engine.efg.isotopes import Isotope
from aiida_ufpnmr.engine.efg.tensors import KHZ_PER_MB_AU, to_irreps
from aiida_ufpnmr.engine.nmr.principal import coupling_and_asymmetry
from aiida_ufpnmr.engine.nmr.runs import POWDER, EfgRuns
from aiida_ufpnmr.engine.records import Record, quantity
from aiida_ufpnmr.engine.timeseries.sums import FEWEST_IONS, PARTS, Group, mean_with_interval


@dataclass(frozen=True)
class GroupMeans(Record):
    """Means over the tensors of a group of ions, vibrations included."""

    share: float = quantity('', 'share of the frames of all ions')
    c_q_mean_khz: float = quantity('kHz', 'mean |C_Q|')
    c_q_mean_khz_ci95: tuple[float, float] = quantity('kHz', 'its 95 % interval')
    c_q_std_khz: float = quantity('kHz', 'standard deviation of |C_Q|')
    eta_mean: float = quantity('', 'mean η')
    eta_mean_ci95: tuple[float, float] = quantity('', 'its 95 % interval')
    omega_q_rms_khz: float = quantity('kHz', 'rms ω_Q in a powder')
    omega_q_rms_khz_ci95: tuple[float, float] = quantity('kHz', 'its 95 % interval')


def group_means(runs: EfgRuns, groups: Sequence[Group], isotope: Isotope) -> list[GroupMeans]:
    """Means over each group, in one pass over the tensors.

    Intervals come from the scatter of the ions of each run, or of eighths of their time where a group has few ions.
    """
    khz = KHZ_PER_MB_AU * isotope.moment_mb
    # number of tensors, of |C_Q|, its square and |ω_Q|², then number of η that are defined, and η
    sums = np.zeros((6, len(groups), len(runs.lengths), runs.n_ions, PARTS))
    for run, length in enumerate(runs.lengths):
        edges = np.linspace(0, length, PARTS + 1).astype(int)
        for rows, part in runs.chunks(run):
            tensors = np.asarray(part, float)
            coupling, eta = coupling_and_asymmetry(tensors)
            coupling = abs(khz) * coupling
            square = khz**2 * (to_irreps(tensors) ** 2).sum(axis=2)
            defined = np.isfinite(eta)
            values = np.stack(
                [np.ones_like(eta), coupling, coupling**2, square, defined.astype(float), np.where(defined, eta, 0.0)]
            )
            for number, group in enumerate(groups):
                member = group.members[run]
                inside = values * (member[rows] if member.ndim == 2 else member)
                for p, (begin, end) in enumerate(zip(edges, edges[1:])):
                    begin, end = max(begin, rows.start) - rows.start, min(end, rows.stop) - rows.start
                    if end > begin:
                        sums[:, number, run, :, p] += inside[:, begin:end].sum(axis=1)
    total = runs.n_ions * sum(runs.lengths)
    return [_means(sums[:, number], total) for number in range(len(groups))]


def _means(sums: np.ndarray, total: int) -> GroupMeans:
    """From the sums (6, n_runs, n_ions, PARTS) of one group, and the number of frames of all ions."""
    by_ion = sums.sum(axis=3)
    units = by_ion if (by_ion[0] > 0).sum() >= FEWEST_IONS else sums
    count, coupling, squared_coupling, square, defined, eta = units.reshape(6, -1)
    c_q, c_q_interval = mean_with_interval(coupling, count)
    mean_eta, eta_interval = mean_with_interval(eta, defined)
    omega, omega_interval = mean_with_interval(POWDER * square, count)
    mean_square = squared_coupling.sum() / max(count.sum(), 1)
    return GroupMeans(
        share=float(count.sum() / total),
        c_q_mean_khz=c_q,
        c_q_mean_khz_ci95=c_q_interval,
        c_q_std_khz=float(np.sqrt(max(mean_square - c_q**2, 0.0))),
        eta_mean=mean_eta,
        eta_mean_ci95=eta_interval,
        omega_q_rms_khz=float(np.sqrt(omega)),
        omega_q_rms_khz_ci95=tuple(np.sqrt(np.maximum(omega_interval, 0.0)).tolist()),
    )
