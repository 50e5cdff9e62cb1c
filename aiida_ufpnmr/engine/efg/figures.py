"""Figures of an EFG model: prediction against label, orientations, expected against real errors, learning curve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aiida_ufpnmr.engine import figure_style
from aiida_ufpnmr.engine.efg.learning import AIM_KHZ
from aiida_ufpnmr.engine.efg.tensors import quadrupolar_frequency
from aiida_ufpnmr.engine.figure_style import BLUE, GREY, ORANGE, finish

#: More points than this hide one another.
MOST_POINTS = 6000


def fit_figure(
    results: dict[str, Any], predicted: np.ndarray | None = None, reference: np.ndarray | None = None
) -> Figure:
    """Panels for what there is in the results of a fit or an evaluation.

    Args:
        predicted, reference: (n, 3, 3) tensors in a.u., for a panel of ω_Q.
    """
    panels: list[Callable[[Axes], None]] = []
    if predicted is not None and reference is not None:
        panels.append(lambda axis: plot_parity(predicted, reference, results, axis))
    if results['quaternion_dot_distribution'] is not None:
        panels.append(lambda axis: plot_orientations(results, axis))
    if results['calibration'] is not None:
        panels.append(lambda axis: plot_calibration(results['calibration'], axis))
    if 'learning_curve' in results:
        panels.append(lambda axis: plot_learning_curve(results['learning_curve'], axis))
    figure = Figure(figsize=(4.6 * max(1, len(panels)), 4.2), layout='constrained')
    for axis, plot in zip(figure.subplots(1, max(1, len(panels)), squeeze=False)[0], panels):
        plot(axis)
    return figure


def plot_parity(predicted: np.ndarray, reference: np.ndarray, results: dict[str, Any], axis: Axes) -> None:
    """ω_Q of the model against that of the labels, field along x, y and z."""
    label, found = (
        np.concatenate([quadrupolar_frequency(tensors, field, results['isotope']) for field in np.eye(3)])
        for tensors in (reference, predicted)
    )
    span = np.array([min(label.min(), found.min()), max(label.max(), found.max())])
    axis.plot(span, span, color=GREY, lw=1.0)
    chosen = np.random.default_rng(0).permutation(len(label))[:MOST_POINTS]
    axis.plot(label[chosen], found[chosen], ls='none', marker='o', ms=3, mew=0, alpha=0.45, color=BLUE, rasterized=True)
    axis.set_xlabel('quadrupolar frequency, DFT (kHz)')
    axis.set_ylabel('predicted (kHz)')
    axis.set_title(f'mean absolute error {results["omega_q_mae_khz"]:.1f} kHz', fontsize=10)
    finish(axis, legend=False)


def plot_orientations(results: dict[str, Any], axis: Axes) -> None:
    """Cumulative distribution of q·q'."""
    for errors, colour, name in ((results, BLUE, 'withheld'), (results.get('train'), ORANGE, 'training')):
        if errors is not None:
            found = errors['quaternion_dot_distribution']
            label = name if 'train' in results else None
            axis.plot(found['quaternion_dot'], found['fraction_up_to'], color=colour, lw=1.8, label=label)
    axis.axvline(0.9, color=GREY, lw=1.0, ls=':')
    axis.set(xlim=(0.5, 1.0), ylim=(0, 1))
    axis.set_xlabel("overlap of principal frames, $q \\cdot q'$")
    axis.set_ylabel('fraction of ions up to it')
    above = 100 * results['quaternion_dot_fraction_above_0_9']
    axis.set_title(f'{above:.0f} % at 0.9 and above', fontsize=10)
    finish(axis, legend='train' in results, loc='upper left')


def plot_calibration(coverage: dict[str, Any], axis: Axes) -> None:
    """Real against expected errors of ω_Q: the error by the distance from the training set."""
    figure_style.plot_calibration(coverage, axis, 'the frequency', 'kHz', 'measured')
    finish(axis, loc='upper left')


def plot_learning_curve(curve: dict[str, Any], axis: Axes) -> None:
    """Error of ω_Q against the number of ions."""
    figure_style.plot_learning_curve(curve, axis, 'ions', 'omega_q_mae_khz', 'train_omega_q_mae_khz')
    axis.axhline(AIM_KHZ, color=GREY, lw=1.0, ls=':', label='Harper et al. (2024)')
    axis.set_xlabel('labelled ions')
    axis.set_ylabel('mean absolute error of the frequency (kHz)')
    if curve['omega_q_exponent'] is not None:
        axis.set_title(f'error ∝ ions$^{{{curve["omega_q_exponent"]:.2f}}}$ at the end', fontsize=10)
    finish(axis)
