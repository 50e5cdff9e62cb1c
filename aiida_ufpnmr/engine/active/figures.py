"""Figure of errors and labels from generation to generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from aiida_ufpnmr.engine.figure_style import BLUE, GREEN, ORANGE, finish

#: Errors of a generation: key, what it is called, colour.
ERRORS = (
    ('forces_rmse_meV_per_angstrom', 'forces, RMSE (meV/Å)', BLUE),
    ('omega_q_mae_khz', 'frequency, mean absolute error (kHz)', ORANGE),
    ('energy_rmse_meV_per_atom', 'energy, RMSE (meV/atom)', GREEN),
)


def plot_history(generations: Sequence[Mapping[str, Any]], *axes: Axes) -> None:
    """Errors on withheld structures against the number of labels, one error in each of three panels.

    Args:
        generations: as in the ``history`` of active learning: ``labels`` and the errors under their keys.
    """
    labels = [generation['labels'] for generation in generations]
    for axis, (key, name, colour) in zip(axes, ERRORS):
        errors: list[Any] = [generation.get(key) for generation in generations]
        axis.plot(labels, errors, color=colour, marker='o', ms=5, lw=1.4)
        axis.set_xlabel('labelled structures')
        axis.set_ylabel(name)
        axis.set_ylim(bottom=0)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        finish(axis, legend=False)
