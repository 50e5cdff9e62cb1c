"""What a potential does not know: the Gaussian posterior of its coefficients.

The fit is linear with Gaussian errors and a Gaussian prior, so the posterior of the coefficients is Gaussian, and so is
every prediction (Bishop, Pattern Recognition and Machine Learning, ch. 3.3). Its covariance is the inverse A⁻¹ of the
normal matrix with penalties; the variance of a prediction with design row f is fᵀA⁻¹f. How these variances become errors
is measured on withheld structures (:mod:`~aiida_ufpnmr.engine.ufp.calibration`).

The extrapolation grade compares the environment of an atom with those of the training set. A new row b raises the
determinant of the information matrix by the factor 1 + bᵀA⁻¹b, so the leverage bᵀA⁻¹b measures how much it would teach:
the D-optimality criterion, on which Podryabinkin & Shapeev (Comput. Mater. Sci. 140, 171 (2017)) build their grade from
an active set of as many rows as coefficients. Here the whole training set with its prior takes the place of the active
set, which needs no search and is defined where coefficients outnumber environments. Rows are taken relative to the mean
of the training environments: labels of one composition leave open what an atom of each species contributes on average,
and that has no bearing on forces.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import h5py
import numpy as np
from ase import Atoms
from scipy.linalg import blas

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.ufp.basis import Basis
from aiida_ufpnmr.engine.ufp.features import N_LEADING, features, local_features

if TYPE_CHECKING:
    from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential


@dataclass(frozen=True)
class Noise:
    """How posterior variances become errors: error² = floor² + scale² · variance^power.

    The posterior alone knows neither that the form of the potential limits it nor that rows of one structure err together;
    ``scale`` answers for that. A ``power`` below 1 takes back the variances far from the data, where the prior, not the
    potential, sets them.

    Attributes:
        floor: error that more data would not take away; eV/Å of a force component, eV per atom of an energy.
        scale: of the error by the posterior.
        power: 0 to 1.
    """

    floor: float
    scale: float
    power: float = 1.0

    def by_posterior(self, variance: np.ndarray) -> np.ndarray:
        """The part of the error that more data would take away."""
        return self.scale * variance ** (self.power / 2)

    def error(self, variance: np.ndarray) -> np.ndarray:
        """Expected error (one standard deviation) by posterior variance."""
        return np.hypot(self.floor, self.by_posterior(variance))


@dataclass(frozen=True)
class Posterior:
    """Posterior of the coefficients of a potential; ``s`` species.

    Attributes:
        whitening: (n_columns, n_columns) float32 lower triangular W; WᵀW is the covariance of the coefficients, eV².
        forces_noise: for each species, how variances of force components become errors.
        energy_noise: the same for energies per atom.
        centre: (s, n_columns) mean local design row of the training environments around each species.
        leverage_limit: (s,) largest leverage of a training environment around each species, eV².
    """

    whitening: np.ndarray
    forces_noise: tuple[Noise, ...]
    energy_noise: Noise
    centre: np.ndarray
    leverage_limit: np.ndarray

    def variances(self, rows: np.ndarray) -> np.ndarray:
        """Posterior variance (m,) of what design rows (n_columns, m) predict."""
        whitened = blas.strmm(1.0, self.whitening, np.asfortranarray(rows, dtype=np.float32), lower=1)
        return np.einsum('ij,ij->j', whitened, whitened, dtype=float)

    @cached_property
    def _covariance_blocks(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        return {}

    def leverages(self, rows: np.ndarray, types: np.ndarray, basis: Basis) -> np.ndarray:
        """Leverage (n,) of the local design rows (n, n_columns) of atoms of the given species, eV².

        It is taken relative to the mean training environment of the species.
        """
        result = np.empty(len(rows))
        for t in np.unique(types):
            if t not in self._covariance_blocks:
                columns = basis.columns_around(t)
                whitening = self.whitening[:, columns].astype(float)
                self._covariance_blocks[t] = (columns, whitening.T @ whitening)
            columns, covariance = self._covariance_blocks[t]
            chosen = np.flatnonzero(types == t)
            part = rows[np.ix_(chosen, columns)] - self.centre[t, columns]
            result[chosen] = np.einsum('ij,ij->i', part @ covariance, part)
        return result

    def check(self, n_species: int, n_columns: int) -> None:
        """Raise :class:`ValueError` where the parts are not those of a potential of so many species and columns."""
        shapes = self.whitening.shape, self.centre.shape, self.leverage_limit.shape, len(self.forces_noise)
        if shapes != ((n_columns, n_columns), (n_species, n_columns), (n_species,), n_species):
            raise ValueError(f'the posterior does not fit {n_species} species and {n_columns} coefficients')

    def write(self, group: h5py.Group) -> None:
        """Write into a group of a potential's file: 2 n² bytes for n columns."""
        group['whitening'] = self.whitening[np.tril_indices(len(self.whitening))]
        group['forces_noise'] = [(noise.floor, noise.scale, noise.power) for noise in self.forces_noise]
        group['energy_noise'] = (self.energy_noise.floor, self.energy_noise.scale, self.energy_noise.power)
        group['centre'] = self.centre
        group['leverage_limit'] = self.leverage_limit

    @classmethod
    def read(cls, group: h5py.Group) -> Posterior:
        """Read what :meth:`write` wrote."""
        packed = group['whitening'][...]
        n = int((np.sqrt(8 * len(packed) + 1) - 1) / 2)
        whitening = np.zeros((n, n), np.float32)
        whitening[np.tril_indices(n)] = packed
        return cls(
            np.asfortranarray(whitening),
            tuple(Noise(*map(float, row)) for row in group['forces_noise'][...]),
            Noise(*map(float, group['energy_noise'][...])),
            group['centre'][...],
            group['leverage_limit'][...],
        )


@dataclass(frozen=True)
class Uncertainty:
    """Expected errors (one standard deviation) of a prediction.

    Attributes:
        energy: eV.
        forces: (n, 3) eV/Å.
        forces_posterior: (n, 3) eV/Å, the part of it that more data would take away.
    """

    energy: float
    forces: np.ndarray
    forces_posterior: np.ndarray


def uncertainty(potential: UltraFastPotential, atoms: Atoms) -> Uncertainty:
    """Expected errors of energy and forces of a structure.

    Raises:
        InputError: the potential has no posterior, or does not know an element.
    """
    posterior = _posterior(potential)
    types = potential.types(atoms)
    variances = posterior.variances(features(atoms, types, potential.basis))
    by_component = variances[N_LEADING:].reshape(-1, 3)
    expected, by_posterior = np.empty_like(by_component), np.empty_like(by_component)
    for t, noise in enumerate(posterior.forces_noise):
        expected[types == t] = noise.error(by_component[types == t])
        by_posterior[types == t] = noise.by_posterior(by_component[types == t])
    per_atom = float(posterior.energy_noise.error(variances[0] / len(atoms) ** 2))
    return Uncertainty(per_atom * len(atoms), expected, by_posterior)


def force_uncertainty(potential: UltraFastPotential, atoms: Atoms) -> np.ndarray:
    """Expected error (one standard deviation) of each force component, (n, 3) eV/Å; see :func:`uncertainty`."""
    return uncertainty(potential, atoms).forces


def extrapolation_grade(potential: UltraFastPotential, atoms: Atoms) -> np.ndarray:
    """Extrapolation grade (n,): root of each atom's leverage over the largest of a training environment of its species.

    Up to 1 an environment lies within the ellipsoid that holds all training environments. Above, the potential
    extrapolates: the standard deviation of the atom's energy exceeds all in training by this factor.

    Raises:
        InputError: the potential has no posterior, or does not know an element.
    """
    posterior = _posterior(potential)
    types = potential.types(atoms)
    rows = local_features(atoms, types, potential.basis)
    return np.sqrt(posterior.leverages(rows, types, potential.basis) / posterior.leverage_limit[types])


def _posterior(potential: UltraFastPotential) -> Posterior:
    if potential.posterior is None:
        raise InputError(
            f'{potential.source}: holds no posterior, so its uncertainty is not known; fit it again, to .h5 and without '
            '--no-posterior'
        )
    return potential.posterior
