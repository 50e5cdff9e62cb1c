"""Expected beside real errors of a potential, on structures that its fit did not see."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.dataset import Dataset, energy, forces
from aiida_ufpnmr.engine.regression.calibration import Noise, coverage, cross_fitted, fit_noise
from aiida_ufpnmr.engine.ufp.features import N_LEADING
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential
from aiida_ufpnmr.engine.ufp.uncertainty import uncertainty


@dataclass
class Sample:
    """Real errors beside posterior variances, on structures that a fit did not see; lists grow fold by fold.

    Attributes:
        forces_error, forces_variance: eV/Å and its square, arrays of components.
        species: species number of each component.
        forces_fold, forces_group: of each component.
        energy_error, energy_variance: eV per atom and its square.
        energy_fold, energy_group: of each energy.
    """

    forces_error: list[np.ndarray] = field(default_factory=list)
    forces_variance: list[np.ndarray] = field(default_factory=list)
    species: list[np.ndarray] = field(default_factory=list)
    forces_fold: list[np.ndarray] = field(default_factory=list)
    forces_group: list[np.ndarray] = field(default_factory=list)
    energy_error: list[float] = field(default_factory=list)
    energy_variance: list[float] = field(default_factory=list)
    energy_fold: list[int] = field(default_factory=list)
    energy_group: list[str] = field(default_factory=list)

    def add(
        self,
        atoms: Atoms,
        types: np.ndarray,
        potential: UltraFastPotential,
        variances: np.ndarray,
        fold: int,
        group: str,
    ) -> None:
        """Take one structure with the variances of its design rows."""
        found, label = potential.compute(atoms), energy(atoms)
        assert label is not None
        self.forces_error.append((found.forces - forces(atoms)).ravel())
        self.forces_variance.append(variances[N_LEADING:])
        self.species.append(np.repeat(types, 3))
        self.forces_fold.append(np.full(3 * len(atoms), fold))
        self.forces_group.append(np.full(3 * len(atoms), group))
        self.energy_error.append((found.energy - label) / len(atoms))
        self.energy_variance.append(variances[0] / len(atoms) ** 2)
        self.energy_fold.append(fold)
        self.energy_group.append(group)

    def calibrate(self, n_species: int) -> tuple[tuple[Noise, ...], Noise, dict]:
        """Noise of the forces by species and of the energy, and how well expected errors hold.

        Each fold is judged by the noise that the others show. The energies of one group share an offset, so that a
        group counts once, however many structures it has.
        """
        error, variance = np.concatenate(self.forces_error), np.concatenate(self.forces_variance)
        species, fold = np.concatenate(self.species), np.concatenate(self.forces_fold)
        expected = np.zeros(len(error))
        everywhere = fit_noise(error, variance)
        noise = []
        for t in range(n_species):
            own = species == t
            # too few components of a rare species say nothing of their own
            noise.append(fit_noise(error[own], variance[own]) if own.sum() >= 30 else everywhere)
            if own.any():
                expected[own] = cross_fitted(error[own], variance[own], fold[own])
        energy_error, energy_variance = np.array(self.energy_error), np.array(self.energy_variance)
        energy_group = np.array(self.energy_group)
        _, index, sizes = np.unique(energy_group, return_inverse=True, return_counts=True)
        once = 1 / sizes[index]
        energy_expected = cross_fitted(energy_error, energy_variance, np.array(self.energy_fold), once)
        energy_noise = fit_noise(energy_error, energy_variance, once)
        return (
            tuple(noise),
            energy_noise,
            {
                'forces': coverage(1000 * error, 1000 * expected, np.concatenate(self.forces_group)),
                'energy': coverage(1000 * energy_error, 1000 * energy_expected, energy_group),
            },
        )


def expected_and_real(potential: UltraFastPotential, dataset: Dataset) -> dict:
    """Expected errors of a potential beside the real ones on labelled structures; see :func:`coverage`.

    Raises:
        InputError: the potential has no posterior.
    """
    force_errors, force_expected, force_groups, energy_errors, energy_expected = [], [], [], [], []
    for atoms, group in zip(dataset, dataset.groups):
        found, expected, label = potential.compute(atoms), uncertainty(potential, atoms), energy(atoms)
        assert label is not None
        force_errors.append((found.forces - forces(atoms)).ravel())
        force_expected.append(expected.forces.ravel())
        force_groups.append(np.full(3 * len(atoms), group))
        energy_errors.append((found.energy - label) / len(atoms))
        energy_expected.append(expected.energy / len(atoms))
    return {
        'forces': coverage(
            1000 * np.concatenate(force_errors), 1000 * np.concatenate(force_expected), np.concatenate(force_groups)
        ),
        'energy': coverage(1000 * np.array(energy_errors), 1000 * np.array(energy_expected), np.array(dataset.groups)),
    }
