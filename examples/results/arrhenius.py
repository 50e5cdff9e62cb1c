"""Draw diffusion, hops and the decay that NMR sees against temperature, of β, γ and glass, beside published values.

::

    python examples/results/arrhenius.py FOLDER/li3ps4-*.aiida -o arrhenius.png
"""

from __future__ import annotations

import numpy as np
from kept import COLOURS, HARPER, NAMES, Runs, laws, main
from matplotlib.figure import Figure

from aiida_ufpnmr.engine.analyses.arrhenius import QUANTITIES
from aiida_ufpnmr.engine.figure_style import finish
from aiida_ufpnmr.engine.tables import with_interval
from aiida_ufpnmr.engine.transport.arrhenius import EV_PER_K


def draw(runs: Runs) -> Figure:
    """A panel for each quantity."""
    found_in = {name: laws(some) for name, some in runs.items()}
    shown = [quantity for quantity in QUANTITIES if any(quantity in found for found in found_in.values())]
    figure = Figure(figsize=(5.0 * len(shown), 4.6), layout='constrained')
    for quantity, axis in zip(shown, figure.subplots(1, len(shown), squeeze=False)[0]):
        for name, found in found_in.items():
            if quantity not in found:
                continue
            law, colour = found[quantity], COLOURS[name]
            inverse = np.linspace(1 / law.run_temperature_K.max(), 1 / 300, 50)
            line = law.prefactor * np.exp(-law.activation_energy_eV / EV_PER_K * inverse)
            axis.plot(1e3 * inverse, line, color=colour, lw=1.2)
            low, high = law.extrapolations[0].value_ci95
            axis.plot([1e3 / 300] * 2, [low, high], color=colour, lw=5, alpha=0.35, solid_capstyle='butt')
            energy = with_interval(law.activation_energy_eV, law.activation_energy_eV_ci95, '.2f')
            points = 1e3 / law.run_temperature_K, law.run_value, 1.96 * law.run_error
            axis.errorbar(*points, color=colour, fmt='o', ms=4, capsize=2, label=f'{NAMES[name]}, $E_a$ = {energy} eV')
            if (quantity, name) in HARPER:
                published = 1e3 / 300, HARPER[quantity, name]
                axis.plot(*published, color=colour, ls='none', marker='D', ms=8, mfc='none', mew=1.5)
        symbol, unit, *_ = QUANTITIES[quantity]
        axis.set(yscale='log', xlabel='1000 K / T', ylabel=f'{symbol} ({unit})')
        finish(axis)
    return figure


if __name__ == '__main__':
    main(__doc__, draw)
