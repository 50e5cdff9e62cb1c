"""What grains make of a decay: Harper 2024, Fig. 7."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aiida_ufpnmr.engine.figure_style import COLOURS, GREY, finish
from aiida_ufpnmr.engine.nmr.microstructure import MEASURED_MS, Polycrystal

LINES = ('-', '--', ':', '-.')


def microstructure_figure(found: Sequence[Polycrystal], measured_ms: tuple[float, float] = MEASURED_MS) -> Figure:
    """Correlation functions, and decay times against the grain size."""
    figure = Figure(figsize=(11.0, 4.6), layout='constrained')
    left, right = figure.subplots(1, 2)
    plot_polycrystals(found, left, measured_ms)
    plot_grain_sizes(found, right, measured_ms)
    return figure


def plot_polycrystals(found: Sequence[Polycrystal], axis: Axes, measured_ms: tuple[float, float] = MEASURED_MS) -> None:
    """Correlation functions from ns to s, a colour for each grain size, a line style for each diffusion coefficient."""
    sizes, rates = _values(found)
    for one in found:
        axis.plot(
            one.lag_ns,
            one.c,
            color=COLOURS[sizes.index(one.grain_nm) % len(COLOURS)],
            ls=LINES[rates.index(one.diffusion_cm2_per_s) % len(LINES)],
            lw=1.8,
            label=f'{one.grain_nm:g} nm, {_words(one)}',
        )
    axis.axvspan(*(1e6 * limit for limit in measured_ms), color=GREY, alpha=0.25, lw=0, label=_measured(measured_ms))
    axis.axhline(0.0, color=GREY, lw=0.8)
    axis.set_xscale('log')
    axis.set_xlim(found[0].lag_ns[0], max(found[0].lag_ns[-1], 2e6 * measured_ms[1]))
    axis.set_xlabel('mixing time (ns)')
    axis.set_ylabel(r'$\omega_Q$ correlation, 1 at the first lag')
    finish(axis, loc='upper right' if found[0].c[len(found[0].c) // 4] < 0.5 else 'best')


def plot_grain_sizes(found: Sequence[Polycrystal], axis: Axes, measured_ms: tuple[float, float] = MEASURED_MS) -> None:
    """Decay time by exchange of grains against their size, a line for each diffusion coefficient."""
    _, rates = _values(found)
    for number, rate in enumerate(rates):
        chosen = sorted((one for one in found if one.diffusion_cm2_per_s == rate), key=lambda one: one.grain_nm)
        axis.plot(
            [one.grain_nm for one in chosen],
            [one.tau_ms for one in chosen],
            'o',
            color=COLOURS[number % len(COLOURS)],
            ls=LINES[number % len(LINES)],
            lw=1.8,
            label=_words(chosen[0]),
        )
    axis.axhspan(*measured_ms, color=GREY, alpha=0.25, lw=0, label=_measured(measured_ms))
    axis.set_xscale('log')
    axis.set_yscale('log')
    axis.set_xlabel('grain size (nm)')
    axis.set_ylabel(r'$\tau_\mathrm{SAE}$ (ms)')
    finish(axis)


def _values(found: Sequence[Polycrystal]) -> tuple[list[float], list[float]]:
    return (list(dict.fromkeys(getattr(one, name) for one in found)) for name in ('grain_nm', 'diffusion_cm2_per_s'))


def _words(one: Polycrystal) -> str:
    at = f'{one.temperature_k:g} K' if np.isfinite(one.temperature_k) else ''
    rate = f'D = {one.diffusion_cm2_per_s:.2g} cm²/s'
    return f'{at}, {rate}' if at else rate


def _measured(limits: tuple[float, float]) -> str:
    return f'measured: {limits[0]:g} to {limits[1]:g} ms'
