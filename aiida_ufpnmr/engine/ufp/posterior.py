"""The Gaussian posterior of a potential's coefficients.

The fit is linear with Gaussian errors and a Gaussian prior, so the posterior of the coefficients is Gaussian, and so is
every prediction (Bishop, Pattern Recognition and Machine Learning, ch. 3.3). Its covariance is the inverse A⁻¹ of the
normal matrix with penalties; the variance of a prediction with design row f is fᵀA⁻¹f. How these variances become
errors is measured on withheld structures (:mod:`~aiida_ufpnmr.engine.ufp.calibration`).

The extrapolation grade compares the environment of an atom with those of the training set. A new row b raises the
determinant of the information matrix by the factor 1 + bᵀA⁻¹b, so the leverage bᵀA⁻¹b measures how much it would teach:
the D-optimality criterion, on which Podryabinkin & Shapeev (Comput. Mater. Sci. 140, 171 (2017)) build their grade from
an active set of as many rows as coefficients. Here the whole training set with its prior takes the place of the active
set, which needs no search and is defined where coefficients outnumber environments. Rows are taken relative to the mean
of the training environments: labels of one composition leave open what an atom of each species contributes on average,
and that has no bearing on forces.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from functools import cached_property

import h5py
import numpy as np

from aiida_ufpnmr.engine.regression.calibration import Noise
from aiida_ufpnmr.engine.regression.posterior import pack, squared_lengths, unpack, whiten
from aiida_ufpnmr.engine.ufp.basis import Basis


@dataclass(frozen=True)
class Posterior:
    """Posterior of the coefficients of a potential; ``s`` species.

    Attributes:
        whitening: (n_columns, n_columns) float32 lower triangular W; WᵀW is the covariance of the coefficients, eV².
        forces_noise: for each species, the noise of force components.
        energy_noise: of energies per atom.
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
        return squared_lengths(whiten(self.whitening, rows))

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
        group['whitening'] = pack(self.whitening)
        group['forces_noise'] = [astuple(noise) for noise in self.forces_noise]
        group['energy_noise'] = astuple(self.energy_noise)
        group['centre'] = self.centre
        group['leverage_limit'] = self.leverage_limit

    @classmethod
    def read(cls, group: h5py.Group) -> Posterior:
        """Read what :meth:`write` wrote."""
        return cls(
            whitening=unpack(group['whitening'][...]),
            forces_noise=tuple(Noise(*map(float, row)) for row in group['forces_noise'][...]),
            energy_noise=Noise(*map(float, group['energy_noise'][...])),
            centre=group['centre'][...],
            leverage_limit=group['leverage_limit'][...],
        )
