"""Expected beside real errors of a potential, on structures that its fit did not see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.dataset import Dataset, energy, forces
from aiida_ufpnmr.engine.regression.calibration import Noise, coverage, cross_fitted, fit_noise
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential
from aiida_ufpnmr.engine.ufp.uncertainty import uncertainty


class Comparison(NamedTuple):
    """Real errors on a structure that a fit did not see, beside the posterior variances of the same predictions."""

    forces_error: np.ndarray  # (3 n,) eV/Å
    forces_variance: np.ndarray  # (3 n,) eV²/Å²
    species: np.ndarray  # (3 n,) species number of each component
    energy_error: float  # eV per atom
    energy_variance: float  # its square
    fold: int
    group: str
    weight: float = 1.0  # of the structure in the fit


def real_errors(potential: UltraFastPotential, atoms: Atoms) -> tuple[np.ndarray, float]:
    """Errors of force components (3 n,), eV/Å, and of the energy, eV per atom, on a labelled structure."""
    found, label = potential.compute(atoms), energy(atoms)
    assert label is not None
    return (found.forces - forces(atoms)).ravel(), (found.energy - label) / len(atoms)


def calibrate(sample: Sequence[Comparison], n_species: int) -> tuple[tuple[Noise, ...], Noise, dict]:
    """Noise of the forces by species and of the energy, and how well expected errors hold.

    Each fold is judged by the noise that the others show. The energies of one group share an offset, so that a group
    counts once, however many structures it has, or less where their mean weight is below 1. Structures count by their
    weight for the noise, and alike where it is judged.
    """
    forces_error, forces_variance, types, *of_energy = zip(*sample)
    error, variance, species = map(np.concatenate, (forces_error, forces_variance, types))
    energy_error, energy_variance, energy_fold, energy_group, weight = map(np.array, of_energy)
    components = [len(one.species) for one in sample]
    fold = np.repeat(energy_fold, components)
    weights = np.repeat(weight, components)
    expected = np.zeros(len(error))
    everywhere = fit_noise(error, variance, weights)
    noise = []
    for t in range(n_species):
        own = species == t
        # too few components of a rare species say nothing of their own
        noise.append(fit_noise(error[own], variance[own], weights[own]) if own.sum() >= 30 else everywhere)
        if own.any():
            expected[own] = cross_fitted(error[own], variance[own], fold[own], weights[own])
    _, index, sizes = np.unique(energy_group, return_inverse=True, return_counts=True)
    total = np.bincount(index, weights=weight)
    once = (weight / total[index]) * np.minimum(total / sizes, 1.0)[index]
    energy_expected = cross_fitted(energy_error, energy_variance, energy_fold, once)
    calibration = {
        'forces': coverage(1000 * error, 1000 * expected, np.repeat(energy_group, components)),
        'energy': coverage(1000 * energy_error, 1000 * energy_expected, energy_group),
    }
    return tuple(noise), fit_noise(energy_error, energy_variance, once), calibration


def expected_and_real(potential: UltraFastPotential, dataset: Dataset) -> dict:
    """Expected errors of a potential beside the real ones on labelled structures; see :func:`coverage`.

    Under ``forces_by_species`` the root mean squares of both stand beside the fractions, for each species.

    Raises:
        InputError: the potential has no posterior.
    """

    def compared(atoms: Atoms) -> tuple[np.ndarray, float, np.ndarray, float]:
        expected = uncertainty(potential, atoms)
        return *real_errors(potential, atoms), expected.forces.ravel(), expected.energy / len(atoms)

    forces_error, energy_error, forces_expected, energy_expected = zip(*map(compared, dataset))
    groups = np.array(dataset.groups)
    forces_groups = np.repeat(groups, [len(errors) for errors in forces_error])
    real, predicted = 1000 * np.concatenate(forces_error), 1000 * np.concatenate(forces_expected)
    symbols = np.repeat(np.concatenate([atoms.symbols for atoms in dataset]), 3)
    return {
        'forces': coverage(real, predicted, forces_groups),
        'forces_by_species': {str(s): _beside(real[symbols == s], predicted[symbols == s]) for s in np.unique(symbols)},
        'energy': coverage(1000 * np.array(energy_error), 1000 * np.array(energy_expected), groups),
    }


def _beside(real: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """Root mean squares of real and expected errors (meV/Å), and the fractions within one and two of the latter."""
    found = coverage(real, expected)
    return {
        'real_rmse_meV_per_angstrom': float(np.sqrt(np.mean(real**2))),
        'expected_rmse_meV_per_angstrom': float(np.sqrt(np.mean(expected**2))),
        'fraction_within_1_sigma': found['fraction_within_1_sigma'],
        'fraction_within_2_sigma': found['fraction_within_2_sigma'],
    }
