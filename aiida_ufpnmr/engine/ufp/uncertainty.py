"""Expected errors and extrapolation grades of a potential's predictions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.ufp.features import N_LEADING, features, local_features
from aiida_ufpnmr.engine.ufp.posterior import Posterior
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential


@dataclass(frozen=True)
class Uncertainty:
    """Expected errors (one standard deviation) of a prediction.

    Attributes:
        energy: eV.
        forces: (n, 3) eV/Å.
        forces_posterior: (n, 3) eV/Å, the part of it that more data would take away.
        forces_variance: (n, 3) of the posterior alone, eV²/Å².
    """

    energy: float
    forces: np.ndarray
    forces_posterior: np.ndarray
    forces_variance: np.ndarray


def posterior_of(potential: UltraFastPotential) -> Posterior:
    """The posterior of a potential; :class:`InputError` where it holds none."""
    if potential.posterior is None:
        raise InputError(
            f'{potential.source}: holds no posterior, so its uncertainty is not known; fit it again, to .h5 and '
            'without --no-posterior'
        )
    return potential.posterior


def uncertainty(potential: UltraFastPotential, atoms: Atoms) -> Uncertainty:
    """Expected errors of energy and forces of a structure.

    Raises:
        InputError: the potential has no posterior, or does not know an element.
    """
    posterior = posterior_of(potential)
    types = potential.types(atoms)
    variances = posterior.variances(features(atoms, types, potential.basis))
    by_component = variances[N_LEADING:].reshape(-1, 3)
    expected, by_posterior = np.empty_like(by_component), np.empty_like(by_component)
    for t, noise in enumerate(posterior.forces_noise):
        expected[types == t] = noise.error(by_component[types == t])
        by_posterior[types == t] = noise.by_posterior(by_component[types == t])
    per_atom = float(posterior.energy_noise.error(variances[0] / len(atoms) ** 2))
    return Uncertainty(
        energy=per_atom * len(atoms), forces=expected, forces_posterior=by_posterior, forces_variance=by_component
    )


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
    posterior = posterior_of(potential)
    types = potential.types(atoms)
    rows = local_features(atoms, types, potential.basis)
    return np.sqrt(posterior.leverages(rows, types, potential.basis) / posterior.leverage_limit[types])
