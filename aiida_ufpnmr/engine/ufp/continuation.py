"""Normal equations on disk, so that more data can be added to a fit without starting over."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_input
from aiida_ufpnmr.engine.hdf5 import read_hdf5, write_hdf5
from aiida_ufpnmr.engine.regression.normal_equations import NormalEquations
from aiida_ufpnmr.engine.ufp.basis import Basis
from aiida_ufpnmr.engine.ufp.moments import MomentBasis
from aiida_ufpnmr.engine.ufp.settings import PotentialSettings
from aiida_ufpnmr.engine.ufp.terms import read_grids, write_grids

FORMAT_VERSION = 2
_KIND = 'potential-equations'


@dataclass(frozen=True)
class SavedEquations:
    """All that earlier data say about the coefficients; ``s`` species.

    Attributes:
        equations: of all rows so far, without penalties.
        basis: the columns.
        one_body: (s,) reference energies that were taken off, eV.
        closest_distance: (s, s) shortest distances so far, Å.
        settings: of the fit.
        training_sha256: of all data so far.
        structures, rows: how many so far.
        centre: (s, n_columns) mean local design row around each species in the first data.
        leverage_limit: (s,) largest leverage of an environment so far, eV².
        source: what to call it in messages.
    """

    equations: NormalEquations
    basis: Basis
    one_body: np.ndarray
    closest_distance: np.ndarray
    settings: PotentialSettings
    training_sha256: str
    structures: int
    rows: int
    centre: np.ndarray
    leverage_limit: np.ndarray
    source: str = 'equations'

    def check(self, dataset: Dataset, closest: np.ndarray) -> None:
        """Refuse data that the basis cannot describe.

        Args:
            closest: (s, s) shortest distances in ``dataset``, Å.
        """
        unknown = sorted(set(dataset.species) - set(self.basis.species))
        if unknown:
            raise InputError(
                f'{dataset.source}: holds {", ".join(unknown)}, which {self.source} does not; fit everything anew'
            )
        for i, a in enumerate(self.basis.species):
            for j, b in enumerate(self.basis.species[i:], start=i):
                start = min(self.basis.covers(a, b), self.closest_distance[i, j])
                if closest[i, j] < start:
                    raise InputError(
                        f'{dataset.source}: a distance {a}-{b} of {closest[i, j]:.2f} Å lies below the grids of '
                        f'{self.source} ({start:.2f} Å); fit everything anew'
                    )

    def save(self, path: str | os.PathLike) -> None:
        """Write as HDF5, whole or not at all: 4 n² bytes for n columns."""
        basis = self.basis
        with write_hdf5(path, _KIND, FORMAT_VERSION) as file:
            file.attrs['units'] = 'eV, Angstrom'
            file.attrs['species'] = list(basis.species)
            file.attrs['settings'] = self.settings.to_json()
            file.attrs['training_sha256'] = self.training_sha256
            file.attrs['structures'] = self.structures
            file.attrs['rows'] = self.rows
            write_grids(file, basis.pairs, basis.triplets)
            if basis.moments is not None:
                basis.moments.write(file.create_group('moments'))
            for name in ('one_body', 'closest_distance', 'centre', 'leverage_limit'):
                file[name] = getattr(self, name)
            file['vector'] = self.equations.vector
            n = basis.n_columns
            packed = file.create_dataset('lower_triangle', (n * (n + 1) // 2,), float)
            for j in range(n):
                begin = j * n - j * (j - 1) // 2
                packed[begin : begin + n - j] = self.equations.matrix[j:, j]

    @classmethod
    def load(cls, path: str | os.PathLike) -> SavedEquations:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: the file is damaged, foreign, or newer than this program.
        """
        path = check_input(path, 'file of equations')
        with read_hdf5(path, _KIND, FORMAT_VERSION, oldest=FORMAT_VERSION) as file:
            attributes = file.attrs
            species = tuple(str(name) for name in attributes['species'])
            moments = MomentBasis.read(file['moments'], len(species)) if 'moments' in file else None
            basis = Basis.of(species, *read_grids(file, species), moments)
            n = basis.n_columns
            equations = NormalEquations(n)
            vector, packed = file['vector'][...], file['lower_triangle']
            if vector.shape != (n,) or packed.shape != (n * (n + 1) // 2,) or not np.isfinite(vector).all():
                raise ValueError('the equations do not fit their basis')
            s, arrays = len(species), {}
            shapes = {'one_body': (s,), 'closest_distance': (s, s), 'centre': (s, n), 'leverage_limit': (s,)}
            for name, shape in shapes.items():
                arrays[name] = file[name][...]
                if arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
                    raise ValueError(f'{name} is not {shape} finite numbers')
            equations.vector[:] = vector
            for j in range(n):
                begin = j * n - j * (j - 1) // 2
                equations.matrix[j:, j] = packed[begin : begin + n - j]
            return cls(
                equations=equations,
                basis=basis,
                settings=PotentialSettings.from_json(attributes['settings'], str(path)),
                training_sha256=str(attributes['training_sha256']),
                structures=int(attributes['structures']),
                rows=int(attributes['rows']),
                source=str(path),
                **arrays,
            )
