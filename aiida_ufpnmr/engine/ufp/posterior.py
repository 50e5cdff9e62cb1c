"""What a potential does not know: the Gaussian posterior of its coefficients.

The fit is linear with Gaussian errors and a Gaussian prior, so the posterior of the coefficients is Gaussian, and so is
every prediction (Bishop, Pattern Recognition and Machine Learning, ch. 3.3). Its covariance is the inverse A⁻¹ of the
normal matrix with penalties; the variance of a prediction with design row f is fᵀA⁻¹f. The form of a potential limits it
as well, however many labels there are: this error is told from that of the coefficients on withheld structures
(:mod:`~aiida_ufpnmr.engine.ufp.calibration`).

The extrapolation grade compares the environment of an atom with those of the training set. A new row b raises the
determinant of the information matrix by the factor 1 + bᵀA⁻¹b, so the leverage bᵀA⁻¹b measures how much it would teach:
the D-optimality criterion, on which Podryabinkin & Shapeev (Comput. Mater. Sci. 140, 171 (2017)) build their grade from an active
set of as many rows as coefficients. Here the whole training set with its prior takes the place of the active set, which
needs no search and is defined where coefficients outnumber environments.
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
from aiida_ufpnmr.engine.ufp.basis import Basis, number_columns
from aiida_ufpnmr.engine.ufp.features import N_LEADING, features, local_features

if TYPE_CHECKING:
    from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential


@dataclass(frozen=True)
class Noise:
    """How posterior variances become errors: error² = floor² + scale² · variance.

    Attributes:
        floor: error that more data would not take away; eV/Å of a force component, eV per atom of an energy.
        scale: factor on the standard deviation of the posterior.
    """

    floor: float
    scale: float

    def error(self, variance: np.ndarray) -> np.ndarray:
        """Expected error (one standard deviation) by posterior variance."""
        return np.sqrt(self.floor**2 + self.scale**2 * variance)


@dataclass(frozen=True)
class Posterior:
    """Posterior of the coefficients of a potential; ``s`` species.

    Attributes:
        whitening: (n_columns, n_columns) float32 lower triangular W; WᵀW is the covariance of the coefficients, eV².
        forces_noise: for each species, how variances of force components become errors.
        energy_noise: the same for energies per atom.
        leverage_limit: (s,) largest leverage of a training environment around each species, eV².
    """

    whitening: np.ndarray
    forces_noise: tuple[Noise, ...]
    energy_noise: Noise
    leverage_limit: np.ndarray

    def variances(self, rows: np.ndarray) -> np.ndarray:
        """Posterior variance (m,) of what design rows (n_columns, m) predict."""
        whitened = blas.strmm(1.0, self.whitening, np.asfortranarray(rows, dtype=np.float32), lower=1)
        return np.einsum('ij,ij->j', whitened, whitened, dtype=float)

    @cached_property
    def _covariance_blocks(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        return {}

    def leverages(self, rows: np.ndarray, types: np.ndarray, basis: Basis) -> np.ndarray:
        """Leverage (n,) of the local design rows (n, n_columns) of atoms of the given species, eV²."""
        result = np.empty(len(rows))
        for t in np.unique(types):
            if t not in self._covariance_blocks:
                columns = basis.columns_around(t)
                whitening = self.whitening[:, columns].astype(float)
                self._covariance_blocks[t] = (columns, whitening.T @ whitening)
            columns, covariance = self._covariance_blocks[t]
            chosen = np.flatnonzero(types == t)
            part = rows[np.ix_(chosen, columns)]
            result[chosen] = np.einsum('ij,ij->i', part @ covariance, part)
        return result

    def write(self, group: h5py.Group) -> None:
        """Write into a group of a potential's file: 2 n² bytes for n columns."""
        group['whitening'] = self.whitening[np.tril_indices(len(self.whitening))]
        group['forces_noise'] = [(noise.floor, noise.scale) for noise in self.forces_noise]
        group['energy_noise'] = (self.energy_noise.floor, self.energy_noise.scale)
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


def basis_of(potential: UltraFastPotential) -> Basis:
    """The basis that the coefficients of a fitted potential belong to."""
    return number_columns(
        potential.species,
        potential.pair_start,
        potential.leg_start,
        potential.third_start,
        float(potential.pair_cutoff.max()),
        potential.trio_cutoff,
        potential.pair_coefficients.shape[2] - 3,
        potential.trio_coefficients.shape[3] - 3,
        potential.trio_coefficients.shape[5] - 3,
    )


def uncertainty(potential: UltraFastPotential, atoms: Atoms) -> Uncertainty:
    """Expected errors of energy and forces of a structure.

    Raises:
        InputError: the potential has no posterior, or does not know an element.
    """
    posterior = _posterior(potential)
    types = potential.types(atoms)
    variances = posterior.variances(features(atoms, types, potential.basis))
    by_component = variances[N_LEADING:].reshape(-1, 3)
    scale = np.array([noise.scale for noise in posterior.forces_noise])[types, None]
    floor = np.array([noise.floor for noise in posterior.forces_noise])[types, None]
    per_atom = posterior.energy_noise.error(variances[0] / len(atoms) ** 2)
    return Uncertainty(
        float(per_atom * len(atoms)), np.sqrt(floor**2 + scale**2 * by_component), scale * np.sqrt(by_component)
    )


def force_uncertainty(potential: UltraFastPotential, atoms: Atoms) -> np.ndarray:
    """Expected error (one standard deviation) of each force component, (n, 3) eV/Å; see :func:`uncertainty`."""
    return uncertainty(potential, atoms).forces


def extrapolation_grade(potential: UltraFastPotential, atoms: Atoms) -> np.ndarray:
    """Extrapolation grade (n,) of each atom: leverage over the largest of any training environment of its species, as a root.

    Up to 1 an environment lies within the ellipsoid that holds all training environments; above, the potential
    extrapolates, and about the factor by which the standard deviation of the atom's energy exceeds all in training.

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
            f'{potential.source}: holds no posterior, so its uncertainty is not known; fit it again (as .h5, without --no-posterior)'
        )
    return potential.posterior
