"""The law of Arrhenius through the results of other analyses at several temperatures."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aiida_ufpnmr.engine.analyses.base import Result, Table
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_input
from aiida_ufpnmr.engine.records import quantity
from aiida_ufpnmr.engine.settings import Settings, numbers, setting
from aiida_ufpnmr.engine.tables import interval_row
from aiida_ufpnmr.engine.timeseries.decay import DECAY
from aiida_ufpnmr.engine.transport.arrhenius import EV_PER_K, KINKED, Arrhenius, fit_arrhenius
from aiida_ufpnmr.engine.transport.hops import HOPS
from aiida_ufpnmr.engine.transport.msd import DIFFUSION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Quantities that may be fitted: symbol, unit, keys of the verdict about them, and the verdict that they need.
QUANTITIES = {
    'diffusion_coefficient_cm2_per_s': ('D', 'cm²/s', ('msd_verdict', 'verdict'), DIFFUSION),
    'hop_rate_per_s': ('hop rate', '1/s', ('hops_verdict', 'verdict'), HOPS),
    'decay_rate_per_s': ('1/τ', '1/s', ('verdict',), DECAY),
    'conductivity_S_per_cm': ('σT', 'K·S/cm', ('verdict',), DIFFUSION),
}


@dataclass(frozen=True)
class ArrheniusSettings(Settings):
    """What is fitted, and where the law is wanted."""

    quantity: str = setting(
        '', 'Which result is fitted; by default the first of these that all files hold.', choices=('', *QUANTITIES)
    )
    extrapolate_K: tuple[float, ...] = setting(
        (300.0,), 'Temperatures in K at which the law is wanted.', above=0, parse=numbers, metavar='K,...'
    )


@dataclass(frozen=True)
class ArrheniusResult(Result, Arrhenius):
    """Activation energy and prefactor, with the runs behind them."""

    KIND = 'arrhenius'

    fitted: str = quantity(
        '', 'the result that was fitted; for a conductivity its product with the temperature', kw_only=True
    )
    run_temperature_K: np.ndarray = quantity('K', 'temperature of each run', 'runs', kw_only=True)
    run_value: np.ndarray = quantity('', 'the quantity in each run, in its unit', 'runs', kw_only=True)
    run_error: np.ndarray = quantity('', 'its standard error', 'runs', kw_only=True)
    left_out: tuple[str, ...] = quantity('', 'runs in which the quantity is not certain', kw_only=True, default=())

    @property
    def symbol(self) -> str:
        """Symbol of the quantity."""
        return QUANTITIES[self.fitted][0]

    @property
    def unit(self) -> str:
        """Unit of the values."""
        return QUANTITIES[self.fitted][1]

    @property
    def headline(self) -> str:
        low, high = self.temperatures[0].temperature_K, self.temperatures[-1].temperature_K
        return f'{self.symbol} of {len(self.run_value)} runs, {low:g} to {high:g} K'

    @property
    def remarks(self) -> list[str]:
        words = [f'Left out, since {self.symbol} is not certain: {name}.' for name in self.left_out]
        if self.kink == KINKED:
            below, above = self.kink_energies_eV
            words.append(
                f'A kink at {self.kink_K:.0f} K ({below:.2f} eV below, {above:.2f} eV above) fits better, which chance '
                f'makes in {self.kink_chance:.1%} of straight lines: extrapolations may mislead.'
            )
        if self.scatter > 2:
            words.append(f'The runs scatter {self.scatter:.1f} times as much as their intervals say.')
        return words

    def table(self) -> Table:
        replicas = [
            (
                f'{self.symbol} at {one.temperature_K:g} K ({self.unit})',
                f'{one.mean:.3e}',
                f'{one.runs} runs' + (f', spread {one.spread:.0%}' if one.runs > 1 else ''),
            )
            for one in self.temperatures
        ]
        return [
            ('quantity', 'value', '95 % interval'),
            interval_row('activation energy (eV)', self.activation_energy_eV, self.activation_energy_eV_ci95, '.3f'),
            interval_row(f'prefactor ({self.unit})', self.prefactor, self.prefactor_ci95, '.2e'),
            *(
                interval_row(
                    f'{self.symbol} at {one.temperature_K:g} K ({self.unit})', one.value, one.value_ci95, '.2e'
                )
                for one in self.extrapolations
            ),
            ('line', self.kink, ''),
            *replicas,
        ]

    def plot(self) -> Figure:
        return plot_laws([self])


def plot_laws(found: Sequence[ArrheniusResult]) -> Figure:
    """The figure of one law or several, side by side."""
    from aiida_ufpnmr.engine.figure_style import Figure

    figure = Figure(figsize=(6.0 * len(found), 4.6), layout='constrained')
    for one, axis in zip(found, figure.subplots(1, len(found), squeeze=False)[0]):
        plot_law(one, axis)
    return figure


def plot_law(found: ArrheniusResult, axis: Axes) -> None:
    """Draw the runs with their 95 % intervals and the fitted line against the inverse temperature."""
    from aiida_ufpnmr.engine.figure_style import BLUE, ORANGE, finish

    shown = np.concatenate([found.run_temperature_K, [one.temperature_K for one in found.extrapolations]])
    span = np.linspace(1 / shown.max(), 1 / shown.min(), 50)
    slope = -found.activation_energy_eV / EV_PER_K
    label = f'$E_a$ = {found.activation_energy_eV:.3f} eV ({{:.3f}} to {{:.3f}})'
    axis.plot(1e3 * span, found.prefactor * np.exp(slope * span), color=ORANGE, lw=1.6, zorder=1)
    axis.errorbar(
        1e3 / found.run_temperature_K,
        found.run_value,
        1.96 * found.run_error,
        color=BLUE,
        fmt='o',
        ms=4,
        capsize=2,
        label=label.format(*found.activation_energy_eV_ci95),
    )
    for one in found.extrapolations:
        low, high = one.value_ci95
        axis.plot([1e3 / one.temperature_K] * 2, [low, high], color=ORANGE, lw=4, alpha=0.4, solid_capstyle='butt')
    axis.set(yscale='log', xlabel='1000 K / T', ylabel=f'{found.symbol} ({found.unit})')
    finish(axis)


def fit_each(
    results: Sequence[tuple[float, str, Mapping[str, Any]]], extrapolate_K: Sequence[float]
) -> tuple[dict[str, ArrheniusResult], dict[str, str]]:
    """Fit every quantity that runs hold, each to the runs that do.

    Args:
        results: as for :func:`fit_results`.
        extrapolate_K: temperatures at which the laws are wanted.

    Returns:
        the laws by quantity, and the reason why there is none for other quantities.
    """
    laws, refused = {}, {}
    for name in QUANTITIES:
        there = [one for one in results if name in one[2]]
        try:
            if there:
                laws[name] = fit_results(there, ArrheniusSettings(name, tuple(extrapolate_K)))
        except InputError as error:
            refused[name] = str(error)
    return laws, refused


def fit_results(
    results: Sequence[tuple[float, str, Mapping[str, Any]]], settings: ArrheniusSettings = ArrheniusSettings()
) -> ArrheniusResult:
    """Fit one quantity of the results of runs.

    Args:
        results: temperature in K, a name for messages, and the results of an analysis of each run.
        settings: which quantity, and where it is wanted.

    Raises:
        InputError: a run without the quantity, or fewer than two temperatures at which it is certain.
    """
    held = [name for name in QUANTITIES if all(name in one for *_, one in results)]
    chosen = settings.quantity or (held[0] if held else '')
    if chosen not in held:
        wanted = chosen or 'a diffusion coefficient, a rate or a conductivity'
        missing = next((name for _, name, one in results if chosen not in one), 'no file')
        raise InputError(f'{missing}: holds no {wanted}; give results of analyse msd, hops or conductivity, or of acf')
    _, _, verdicts, needed = QUANTITIES[chosen]
    points, left_out = [], []
    for temperature, name, one in results:
        verdict = next((one[key] for key in verdicts if key in one), needed)
        interval, value = one.get(f'{chosen}_ci95'), one[chosen]
        only_a_limit = chosen == 'hop_rate_per_s' and not one.get('hop_rate_corrected', True)
        if (
            verdict != needed
            or only_a_limit
            or value is None
            or interval is None
            or not 0 < value < np.inf
            or None in interval
        ):
            left_out.append(f'{name} ({temperature:g} K)')
            continue
        factor = temperature if chosen == 'conductivity_S_per_cm' else 1.0
        points.append((temperature, factor * value, factor * (interval[1] - interval[0]) / (2 * 1.96)))
    if len({temperature for temperature, *_ in points}) < 2:
        raise InputError(f'{chosen} is certain at fewer than two temperatures; go on for longer, or hotter')
    temperatures, values, errors = map(np.array, zip(*points))
    law = fit_arrhenius(temperatures, values, errors, settings.extrapolate_K)
    return ArrheniusResult(
        **vars(law),
        fitted=chosen,
        run_temperature_K=temperatures,
        run_value=values,
        run_error=errors,
        left_out=tuple(left_out),
        settings={'extrapolate_K': list(settings.extrapolate_K)},
    )


def read_results(given: str) -> tuple[float, str, dict[str, Any]]:
    """Results of a run from ``file.json`` or, where they do not say their temperature, from ``700=file.json``.

    Raises:
        InputError: no file, no JSON of results, or no temperature.
    """
    before, separator, after = given.partition('=')
    temperature, path = (before, after) if separator and not os.path.exists(given) else ('', given)
    try:
        results = json.loads(check_input(path, 'results').read_text(encoding='utf-8'))
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f'{path}: no JSON; give what the option --json of an analysis wrote') from error
    if not isinstance(results, dict):
        raise InputError(f'{path}: no results; give what the option --json of an analysis wrote')
    try:
        stated = float(temperature or results.get('temperature_K') or results['temperature_mean_K'])
    except (KeyError, ValueError, TypeError):
        raise InputError(f'{path}: does not say its temperature; write 700={path} for 700 K') from None
    return stated, path, results
