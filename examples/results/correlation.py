"""Draw the correlation of the powder-averaged quadrupolar frequency at each temperature, of β, γ and glass.

::

    python examples/results/correlation.py FOLDER/li3ps4-*.aiida -o correlation.png
"""

from __future__ import annotations

import numpy as np
from kept import NAMES, Runs, main
from matplotlib import colormaps
from matplotlib.figure import Figure

from aiida_ufpnmr.engine.figure_style import GREY, finish


def draw(runs: Runs) -> Figure:
    """A panel for each material, a curve for each run, cold ones dark; the fit where it is a decay."""
    every = [run.temperature_K for some in runs.values() for run in some]
    coldest, hottest = min(every), max(every)
    figure = Figure(figsize=(5.0 * len(runs), 4.4), layout='constrained')
    for (name, some), axis in zip(runs.items(), figure.subplots(1, len(runs), squeeze=False, sharey=True)[0]):
        for run in some:
            curve = run.result.powder
            colour = colormaps['plasma'](0.85 * (run.temperature_K - coldest) / max(hottest - coldest, 1))
            known = (curve.band_lag_ps > 0) & (curve.band_lag_ps < curve.lag_ps[-1] / 2)
            time, mean = curve.band_lag_ps[known], np.nanmean(curve.per_ion, axis=0)[known]
            axis.fill_between(time, *curve.band[known].T, color=colour, alpha=0.15, lw=0)
            said = f'τ = {1e3 * curve.tau_ns:.3g} ps' if np.isfinite(curve.tau_ns) else 'no decay'
            axis.plot(time, mean, color=colour, lw=1.4, label=f'{run.temperature_K:g} K: {said}')
        axis.axhline(0.0, color=GREY, lw=0.8)
        axis.set(xscale='log', xlabel='lag time (ps)', title=NAMES[name])
        finish(axis)
    figure.axes[0].set_ylabel('normalised correlation of $\\omega_Q$ (powder)')
    return figure


if __name__ == '__main__':
    main(__doc__, draw, 'acf')
