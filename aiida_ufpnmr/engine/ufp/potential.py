"""The ultra-fast potential: one-, two- and three-body B-splines (Xie, Rupp & Hennig, npj Comput. Mater. 9, 162 (2023)).

E = Σ_i [E₁(s_i) + Σ_{j≠i} V₂(r_ij) + Σ_{j<k} V₃(r_ij, r_ik, r_jk)]

Each pair counts in both orders, as in LAMMPS ``pair_style uf3``.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.dataset import check_geometry
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_input
from aiida_ufpnmr.engine.hdf5 import read_hdf5, write_hdf5
from aiida_ufpnmr.engine.neighbours import complete_cell
from aiida_ufpnmr.engine.ufp import formats, kernels
from aiida_ufpnmr.engine.ufp.basis import Basis
from aiida_ufpnmr.engine.ufp.lists import interaction_lists
from aiida_ufpnmr.engine.ufp.posterior import Posterior, basis_of
from aiida_ufpnmr.engine.ufp.tables import Tables, build_tables

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Results:
    """What :meth:`UltraFastPotential.compute` gives.

    Attributes:
        energy: eV.
        energies: (n,) energy of each atom, eV.
        forces: (n, 3) eV/Å.
        virial: (3, 3) derivative of the energy by strain, eV.
        stress: (3, 3) virial over volume, eV/Å³, ASE sign; ``None`` without a full cell.
    """

    energy: float
    energies: np.ndarray
    forces: np.ndarray
    virial: np.ndarray
    stress: np.ndarray | None


@dataclass(frozen=True)
class UltraFastPotential:
    """An ultra-fast potential; all arrays in eV and Å, ``s`` species.

    Attributes:
        species: chemical symbols, in order of atomic number.
        one_body: (s,) energy of each species.
        pair_start: (s, s) start of each pair grid.
        pair_cutoff: (s, s) its end.
        pair_coefficients: (s, s, n + 3), symmetric in the species.
        trio_cutoff: end of both legs; the third side ends at twice that.
        leg_start: (s, s) start of the leg grids.
        third_start: (s, s) start of the grids of the third side.
        trio_coefficients: (s, s, s, a, b, c) by centre, first and second neighbour with the first not after the second in
            ``species``; axes: leg to the first, leg to the second, third side.
        closest_distance: (s, s) the shortest distance of each pair in the training data.
        settings: the settings of the fit, as JSON.
        training_sha256: content hash of the training set.
        posterior: what the fit leaves open about the coefficients; ``None`` where it was not kept.
    """

    species: tuple[str, ...]
    one_body: np.ndarray
    pair_start: np.ndarray
    pair_cutoff: np.ndarray
    pair_coefficients: np.ndarray
    trio_cutoff: float
    leg_start: np.ndarray
    third_start: np.ndarray
    trio_coefficients: np.ndarray
    closest_distance: np.ndarray
    settings: str = '{}'
    training_sha256: str = ''
    posterior: Posterior | None = field(default=None, compare=False, repr=False)
    source: str = field(default='potential', compare=False)

    @cached_property
    def tables(self) -> Tables:
        """The potential as the compiled kernels want it."""
        return build_tables(self)

    @cached_property
    def identity(self) -> str:
        """SHA-256 over everything that an energy depends on."""
        digest = hashlib.sha256(f'{self.species} {self.trio_cutoff!r}'.encode())
        for name in _ARRAYS:
            digest.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        return digest.hexdigest()

    @cached_property
    def basis(self) -> Basis:
        """The columns of the linear problem that its coefficients come from."""
        return basis_of(self)

    @property
    def cutoff(self) -> float:
        """The longest cut-off, Å."""
        return float(max(self.pair_cutoff.max(), self.trio_cutoff))

    def types(self, atoms: Atoms) -> np.ndarray:
        """Species number of each atom; :class:`InputError` for an element that the potential does not know."""
        symbols = atoms.get_chemical_symbols()
        unknown = sorted(set(symbols) - set(self.species))
        if unknown:
            raise InputError(
                f'{self.source}: does not know {", ".join(unknown)}; it was fitted to {", ".join(self.species)}'
            )
        number = {symbol: t for t, symbol in enumerate(self.species)}
        return np.array([number[symbol] for symbol in symbols], dtype=np.int64)

    def compute(self, atoms: Atoms) -> Results:
        """Energy, forces and virial of a structure.

        Raises:
            InputError: an unknown element, or a geometry on which nothing can be computed.
        """
        types = self.types(atoms)
        check_geometry(atoms, self.source)
        order = np.argsort(types, kind='stable')
        positions = np.ascontiguousarray(atoms.positions[order])
        cell = atoms.cell.array
        lists = interaction_lists(
            positions, complete_cell(positions, cell, atoms.pbc), atoms.pbc, self.tables, 0.0
        )
        n, s = len(atoms), len(self.species)
        forces, energies, virial = np.empty((n, 3)), np.empty(n), np.empty((3, 3))
        kernels.compute(
            positions, types[order], lists, self.tables, forces, energies, virial, np.zeros((s, s))
        )
        back = np.argsort(order, kind='stable')
        stress = virial / atoms.cell.volume if atoms.cell.rank == 3 else None
        return Results(float(energies.sum()), energies[back], forces[back], virial, stress)

    def save(self, path: str | os.PathLike) -> list[str]:
        """Write the potential, whole or not at all, in the format of the suffix.

        ``.h5`` carries everything; ``.uf3`` is for LAMMPS, ``.json`` for the UF3 package.

        Returns:
            What the format cannot carry, a line each; nothing for ``.h5``.
        """
        match Path(path).suffix:
            case '.h5':
                self._save_hdf5(path)
                return []
            case '.uf3':
                return formats.write_uf3(self, path)
            case '.json':
                return formats.write_json(self, path)
        raise InputError(f'{path}: unknown suffix; a potential is written as .h5, .uf3 (LAMMPS) or .json (UF3 package)')

    def _save_hdf5(self, path) -> None:
        with write_hdf5(path, 'potential', FORMAT_VERSION) as file:
            file.attrs['units'] = 'eV, Angstrom'
            file.attrs['species'] = list(self.species)
            file.attrs['settings'] = self.settings
            file.attrs['training_sha256'] = self.training_sha256
            file.attrs['trio_cutoff'] = self.trio_cutoff
            for name in _ARRAYS:
                file[name] = getattr(self, name)
            if self.posterior is not None:
                self.posterior.write(file.create_group('posterior'))

    @classmethod
    def load(cls, path: str | os.PathLike) -> UltraFastPotential:
        """Read a potential in the format of the suffix (``.h5``, ``.uf3``, ``.json``).

        Raises:
            InputError: the file is damaged, foreign, or newer than this program.
        """
        path = check_input(path, 'potential')
        match path.suffix:
            case '.uf3':
                return cls(**formats.read_uf3(path), source=str(path))
            case '.json':
                return cls(**formats.read_json(path), source=str(path))
        with read_hdf5(path, 'potential', FORMAT_VERSION) as file:
            values: dict[str, Any] = {name: file[name][...] for name in _ARRAYS}
            species = tuple(str(name) for name in file.attrs['species'])
            _check_arrays(values, len(species), float(file.attrs['trio_cutoff']))
            json.loads(file.attrs['settings'])
            return cls(
                species=species,
                trio_cutoff=float(file.attrs['trio_cutoff']),
                settings=str(file.attrs['settings']),
                training_sha256=str(file.attrs['training_sha256']),
                posterior=Posterior.read(file['posterior']) if 'posterior' in file else None,
                source=str(path),
                **values,
            )


def _check_arrays(values: dict[str, np.ndarray], s: int, trio_cutoff: float) -> None:
    """Refuse, with :class:`ValueError`, arrays that the kernels, which trust their shapes, cannot work on."""
    for name, value in values.items():
        # species come first, as often as the axes below say; the coefficients have axes of their own after them
        axes = {'one_body': 1, 'trio_coefficients': 3}.get(name, 2)
        dimensions = axes + {'pair_coefficients': 1, 'trio_coefficients': 3}.get(name, 0)
        if value.ndim != dimensions or value.shape[:axes] != (s,) * axes or min(value.shape[axes:], default=4) < 4:
            raise ValueError(f'{name} of shape {value.shape} does not fit {s} species')
        if not np.isfinite(value).all():
            raise ValueError(f'{name} holds NaN or infinite numbers')
    legs = values['trio_coefficients'].shape[3:5]
    if legs[0] != legs[1]:
        raise ValueError(f'trio_coefficients has {legs[0]} and {legs[1]} functions for its two legs')
    if not 0 < trio_cutoff < np.inf:
        raise ValueError(f'trio_cutoff is {trio_cutoff}')
    for name, stop in (
        ('pair_start', values['pair_cutoff']), ('leg_start', trio_cutoff), ('third_start', 2 * trio_cutoff)
    ):  # fmt: skip
        if not (values[name] < stop).all() or (values[name] < 0).any():
            raise ValueError(f'{name} is negative or beyond its cut-off')


_ARRAYS = (
    'one_body',
    'pair_start',
    'pair_cutoff',
    'pair_coefficients',
    'leg_start',
    'third_start',
    'trio_coefficients',
    'closest_distance',
)
