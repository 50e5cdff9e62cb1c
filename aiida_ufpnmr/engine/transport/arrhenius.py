"""The law of Arrhenius through rates at several temperatures, with replicas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.constants import elementary_charge, k
from scipy.special import chdtrc

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.records import Record, quantity
from aiida_ufpnmr.engine.timeseries.distributions import student_factor

EV_PER_K = k / elementary_charge
#: Chance of so clear a kink in a straight line.
KINK = 0.05
STRAIGHT, KINKED, TOO_FEW = 'straight', 'kink', 'too few temperatures to look for a kink'
#: Temperatures that a kink needs: two on each side.
FEWEST_FOR_KINK = 4


@dataclass(frozen=True)
class Extrapolation(Record):
    """The law at one temperature."""

    temperature_K: float = quantity('K', 'temperature')
    value: float = quantity('', 'of the quantity, in its unit')
    value_ci95: tuple[float, float] = quantity('', 'its 95 % interval, if nothing changes on the way')


@dataclass(frozen=True)
class Replicas(Record):
    """Runs at one temperature."""

    temperature_K: float = quantity('K', 'temperature')
    runs: int = quantity('', 'number of runs')
    mean: float = quantity('', 'geometric mean over the runs, weighted by their errors')
    log_error: float = quantity('', 'standard error of its logarithm that the runs state')
    spread: float = quantity('', 'standard deviation of the logarithm from run to run; NaN for one run')


@dataclass(frozen=True)
class Arrhenius(Record):
    """A exp(−E_a/k_B T), fitted to logarithms."""

    activation_energy_eV: float = quantity('eV', 'activation energy')
    activation_energy_eV_ci95: tuple[float, float] = quantity('eV', 'its 95 % interval')
    prefactor: float = quantity('', 'value at infinite temperature, in the unit of the quantity')
    prefactor_ci95: tuple[float, float] = quantity('', 'its 95 % interval')
    scatter: float = quantity('', 'scatter about the line over what the intervals of the runs allow')
    kink: str = quantity('', 'whether a line with a kink fits better than chance would make it')
    kink_chance: float = quantity('', 'chance of so clear a kink in a straight line')
    kink_K: float = quantity('K', 'where a kink fits best')
    kink_energies_eV: tuple[float, float] = quantity('eV', 'activation energies below it and above')
    extrapolations: tuple[Extrapolation, ...] = quantity('', 'at other temperatures')
    temperatures: tuple[Replicas, ...] = quantity('', 'runs by temperature')


def fit_arrhenius(
    temperature_K: ArrayLike, value: ArrayLike, error: ArrayLike, extrapolate_K: Sequence[float] = ()
) -> Arrhenius:
    """Fit ln value = ln A − E_a/(k_B T) to single runs, weighted by their errors.

    Where the runs scatter more than their errors allow, all errors are multiplied by the same factor (Birge, Phys. Rev.
    40, 207 (1932)), and intervals have Student's factor.

    Args:
        temperature_K: (n_runs,) of which at least two differ.
        value: (n_runs,) above zero.
        error: (n_runs,) standard errors.
        extrapolate_K: temperatures at which the law is wanted.

    Raises:
        InputError: fewer than two temperatures, or a value or an error that is not above zero.
    """
    temperature, rate, relative = np.asarray(temperature_K, float), np.asarray(value, float), np.asarray(error, float)
    if len(np.unique(temperature)) < 2:
        raise InputError('the law of Arrhenius needs rates at two temperatures or more')
    if not ((rate > 0) & (relative > 0) & (temperature > 0)).all():
        raise InputError('temperatures, values and their errors must be above zero')
    logarithm, relative = np.log(rate), relative / rate
    inverse = 1 / (EV_PER_K * temperature)
    centre = float(np.average(inverse, weights=relative**-2))  # so that slope and height are independent
    design = np.column_stack([np.ones(len(rate)), centre - inverse])
    fitted, covariance, misfit = _least_squares(design, logarithm, relative)
    freedom = len(rate) - 2
    factor, width = _widened(misfit, freedom)
    covariance = covariance * factor**2

    def at(argument: float) -> tuple[float, tuple[float, float]]:
        row = np.array([1.0, centre - argument])
        middle, half = row @ fitted, width * np.sqrt(row @ covariance @ row)
        return float(np.exp(middle)), (float(np.exp(middle - half)), float(np.exp(middle + half)))

    energy, half = float(fitted[1]), float(width * np.sqrt(covariance[1, 1]))
    prefactor, prefactor_interval = at(0.0)
    kink, chance, kink_K, energies = _kink(inverse, logarithm, relative, misfit)
    return Arrhenius(
        activation_energy_eV=energy,
        activation_energy_eV_ci95=(energy - half, energy + half),
        prefactor=prefactor,
        prefactor_ci95=prefactor_interval,
        scatter=float(np.sqrt(misfit / freedom)) if freedom else np.nan,
        kink=kink,
        kink_chance=chance,
        kink_K=kink_K,
        kink_energies_eV=energies,
        extrapolations=tuple(Extrapolation(float(other), *at(1 / (EV_PER_K * other))) for other in extrapolate_K),
        temperatures=tuple(
            _replicas(float(one), logarithm[temperature == one], relative[temperature == one])
            for one in np.unique(temperature)
        ),
    )


def _least_squares(design: np.ndarray, y: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Parameters, their covariance and χ² of a weighted linear fit."""
    weighted = design / error[:, None]
    covariance = np.linalg.inv(weighted.T @ weighted)
    fitted = covariance @ (weighted.T @ (y / error))
    return fitted, covariance, float((((y - design @ fitted) / error) ** 2).sum())


def _widened(misfit: float, freedom: int) -> tuple[float, float]:
    """Factor of all errors, and how many of them half a 95 % interval has."""
    if freedom < 1 or misfit <= freedom:
        return 1.0, 1.96
    return float(np.sqrt(misfit / freedom)), float(student_factor(freedom))


def _kink(
    inverse: np.ndarray, logarithm: np.ndarray, error: np.ndarray, misfit: float
) -> tuple[str, float, float, tuple[float, float]]:
    """Compare the straight line with two that meet between neighbouring temperatures, two or more on each side.

    The best of several places is what chance would find, so its chance is multiplied by their number.
    """
    there = np.unique(inverse)
    if len(there) < FEWEST_FOR_KINK:
        return TOO_FEW, np.nan, np.nan, (np.nan, np.nan)
    places = (there[1:-2] + there[2:-1]) / 2
    found = []
    for place in places:
        bend = np.maximum(inverse - place, 0.0)
        design = np.column_stack([np.ones(len(inverse)), -inverse, -bend])
        fitted, _, left = _least_squares(design, logarithm, error)
        found.append((left, place, fitted))
    left, place, fitted = min(found, key=lambda one: one[0])
    freedom = len(inverse) - 3
    scale = max(1.0, left / freedom)
    chance = float(min(1.0, len(places) * chdtrc(1, max(misfit - left, 0.0) / scale)))
    energies = float(fitted[1] + fitted[2]), float(fitted[1])
    return (KINKED if chance < KINK else STRAIGHT), chance, float(1 / (EV_PER_K * place)), energies


def _replicas(temperature_K: float, logarithm: np.ndarray, error: np.ndarray) -> Replicas:
    weight = error**-2.0
    return Replicas(
        temperature_K=temperature_K,
        runs=len(logarithm),
        mean=float(np.exp(np.average(logarithm, weights=weight))),
        log_error=float(weight.sum() ** -0.5),
        spread=float(logarithm.std(ddof=1)) if len(logarithm) > 1 else np.nan,
    )
