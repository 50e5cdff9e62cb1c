"""P_R(S, T) of several runs: barriers by softness, and the temperature where softness tells nothing more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aiida_ufpnmr.engine.analyses.base import Result, Table
from aiida_ufpnmr.engine.analyses.softness import SoftnessResult, plot_probability
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.records import quantity
from aiida_ufpnmr.engine.softness.model import check_distinct
from aiida_ufpnmr.engine.softness.probability import RearrangementLaw, RearrangementProbability, fit_law
from aiida_ufpnmr.engine.tables import interval_row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Windows of whole frames may differ by this share where runs have other times between frames.
SAME_WINDOW = 0.05

#: Temperatures in K that runs may have.
TEMPERATURES_K = (1.0, 1e5)


@dataclass(frozen=True)
class SoftnessOnsetResult(Result, RearrangementLaw):
    """The law, and P_R(S) of each run."""

    KIND = 'softness-onset'

    run_temperature_K: np.ndarray = quantity('K', 'temperature of each run', 'runs', kw_only=True)
    run_rearrangement: tuple[RearrangementProbability, ...] = quantity('', 'P_R(S) of each run', kw_only=True)

    @property
    def headline(self) -> str:
        low, high = self.run_temperature_K.min(), self.run_temperature_K.max()
        return f'P_R(S, T) of {len(self.run_temperature_K)} runs, {low:g} to {high:g} K: {self.onset_verdict}'

    def table(self) -> Table:
        rows = [
            ('quantity', 'value', '95 % interval'),
            interval_row('barrier at S = 0 (eV)', self.energy_eV, self.energy_eV_ci95, '.3f'),
            interval_row('its change with S (eV)', self.energy_slope_eV, self.energy_slope_eV_ci95, '.3f'),
            interval_row('ln P_R at S = 0, 1/T = 0', self.entropy, self.entropy_ci95, '.2f'),
            interval_row('its change with S', self.entropy_slope, self.entropy_slope_ci95, '.2f'),
            ('scatter about the law', f'{self.law_scatter:.2f}', ''),
        ]
        if self.onset_K is not None and self.onset_K_ci95 is not None:
            rows.append(interval_row('onset temperature (K)', self.onset_K, self.onset_K_ci95, '.0f'))
        return rows

    def plot(self) -> Figure:
        from matplotlib import colormaps

        from aiida_ufpnmr.engine.figure_style import Figure, finish

        figure = Figure(figsize=(6.0, 4.4), layout='constrained')
        axis = figure.subplots()
        temperatures = np.unique(self.run_temperature_K)
        for temperature, one in zip(self.run_temperature_K, self.run_rearrangement):
            rank = np.searchsorted(temperatures, temperature) / max(1, len(temperatures) - 1)
            colour = colormaps['viridis'](0.9 * rank)
            plot_probability(one, axis, colour, f'{temperature:g} K')
            span = np.linspace(one.softness_edges[0], one.softness_edges[-1], 50)
            axis.plot(span, self.probability(span, temperature), color=colour, lw=1.2)
        axis.set(xlabel='softness', ylabel='probability to rearrange')
        finish(axis)
        return figure


def fit_onset(runs: Sequence[tuple[float, str, SoftnessResult]]) -> SoftnessOnsetResult:
    """Fit P_R(S, T) to the results of "ufpnmr analyse softness" at several temperatures.

    Args:
        runs: temperature in K, a name for messages, and the result of each run.

    Raises:
        InputError: results of different models or windows, without P_R(S), with too few rearrangements, or of one run.
    """
    of_record = [(name, one.trajectory_sha256) for _, name, one in runs if one.trajectory_sha256]
    check_distinct([name for name, _ in of_record], [sha256 for _, sha256 in of_record])
    found: list[tuple[float, RearrangementProbability]] = []
    for temperature, name, one in runs:
        if one.rearrangement is None:
            raise InputError(f'{name}: holds no P_R(S), as its run is shorter than a window; give a longer one')
        found.append((temperature, one.rearrangement))
        if one.training_sha256 != runs[0][2].training_sha256 or not np.array_equal(
            found[-1][1].softness_edges, found[0][1].softness_edges
        ):
            raise InputError(f'{name}: of another softness model than {runs[0][1]}; analyse all with one')
        if not np.isclose(found[-1][1].window_ps, found[0][1].window_ps, rtol=SAME_WINDOW):
            raise InputError(f'{name}: its windows have another length than those of {runs[0][1]}')
    return SoftnessOnsetResult(
        **vars(fit_law(found)),
        run_temperature_K=np.array([temperature for temperature, _ in found]),
        run_rearrangement=tuple(one for _, one in found),
    )


def read_softness(given: str) -> tuple[float, str, SoftnessResult]:
    """Temperature, name and result of ``600=softness.h5``.

    Raises:
        InputError: no temperature before the file, or no result of the analysis.
    """
    before, _, path = given.partition('=')
    try:
        temperature = float(before)
    except ValueError:
        raise InputError(f'{given}: does not say its temperature; write 600={given} for 600 K') from None
    if not temperature > 0 or not np.isfinite(temperature):
        raise InputError(f'{given}: the temperature must be above zero')
    if not TEMPERATURES_K[0] <= temperature <= TEMPERATURES_K[1]:
        raise InputError(f'{given}: give a temperature from {TEMPERATURES_K[0]:g} to {TEMPERATURES_K[1]:g} K')
    return temperature, path, SoftnessResult.load(path)
