"""The ultra-fast potential: one-, two- and three-body B-splines (Xie, Rupp & Hennig, npj Comput. Mater. 9, 162 (2023)).

E = Σ_i [E₁(s_i) + Σ_{j≠i} V₂(r_ij) + Σ_{j<k} V₃(r_ij, r_ik, r_jk)]

Each pair counts in both orders, as in LAMMPS ``pair_style uf3``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.dataset import check_geometry
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_input
from aiida_ufpnmr.engine.hdf5 import read_hdf5, write_hdf5
from aiida_ufpnmr.engine.neighbours import complete_cell
from aiida_ufpnmr.engine.ufp import kernels, lammps_file, uf3_json
from aiida_ufpnmr.engine.ufp.basis import Basis
from aiida_ufpnmr.engine.ufp.lists import interaction_lists
from aiida_ufpnmr.engine.ufp.posterior import Posterior
from aiida_ufpnmr.engine.ufp.tables import Tables, build_tables
from aiida_ufpnmr.engine.ufp.terms import (
    Pair,
    PairTerm,
    Trio,
    TrioTerm,
    pair_names,
    read_terms,
    trio_names,
    write_terms,
)

FORMAT_VERSION = 2


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


@dataclass(frozen=True, eq=False)
class UltraFastPotential:
    """An ultra-fast potential; all numbers in eV and Å, ``s`` species.

    Attributes:
        species: chemical symbols, in order of atomic number.
        one_body: (s,) energy of each species.
        pairs: the term of each pair of species, the first not after the second in ``species``.
        trios: the term of each centre and pair of neighbours, ordered likewise; empty where there is no three-body energy.
        closest_distance: (s, s) the shortest distance of each pair in the training data.
        settings: the settings of the fit, as JSON.
        training_sha256: content hash of the training set.
        posterior: what the fit leaves open about the coefficients; ``None`` where it was not kept.

    Raises:
        ValueError: a term is missing, or the parts do not fit each other.
    """

    species: tuple[str, ...]
    one_body: np.ndarray
    pairs: Mapping[Pair, PairTerm]
    trios: Mapping[Trio, TrioTerm]
    closest_distance: np.ndarray
    settings: str = '{}'
    training_sha256: str = ''
    posterior: Posterior | None = field(default=None, repr=False)
    source: str = 'potential'

    def __post_init__(self):
        s = len(self.species)
        for name, shape in (('one_body', (s,)), ('closest_distance', (s, s))):
            value = getattr(self, name)
            if value.shape != shape or value.dtype.kind != 'f' or not np.isfinite(value).all():
                raise ValueError(f'{name} is not {shape} finite numbers')
        if list(self.pairs) != pair_names(self.species):
            raise ValueError(f'pairs of {", ".join(self.species)} are missing')
        if self.trios and list(self.trios) != trio_names(self.species):
            raise ValueError(f'trios of {", ".join(self.species)} are missing')
        symmetric = {
            name: term.with_equal_neighbours() if name[1] == name[2] else term for name, term in self.trios.items()
        }
        object.__setattr__(self, 'trios', symmetric)

    @cached_property
    def tables(self) -> Tables:
        """The potential as the compiled kernels want it: float64, one thread."""
        return self.tables_for()

    def tables_for(self, precision: str = 'float64', threads: int = 1) -> Tables:
        """The potential for the compiled kernels.

        Args:
            precision: ``float64``, or ``float32`` for the three-body terms in single precision, which is faster.
            threads: how many share the atoms of a structure.
        """
        if precision not in ('float64', 'float32') or threads < 1:
            raise ValueError(f'precision is float64 or float32, threads are one or more, not {precision}, {threads}')
        return build_tables(self, precision, threads)

    @cached_property
    def identity(self) -> str:
        """SHA-256 over everything that an energy depends on."""
        digest = hashlib.sha256(repr(self.species).encode())
        arrays = [self.one_body, self.closest_distance]
        for pair in self.pairs.values():
            arrays += [pair.grid.breaks, pair.coefficients]
        for trio in self.trios.values():
            arrays += [*(grid.breaks for grid in trio.grids), trio.coefficients]
        for array in arrays:
            digest.update(repr(np.shape(array)).encode() + np.ascontiguousarray(array, float).tobytes())
        return digest.hexdigest()

    @cached_property
    def basis(self) -> Basis:
        """The columns of the linear problem that its coefficients come from."""
        return Basis.of(
            self.species,
            {name: term.grid for name, term in self.pairs.items()},
            {name: term.grids for name, term in self.trios.items()},
        )

    @property
    def pair_start(self) -> np.ndarray:
        """(s, s) the first knot of each pair, Å; below it a pair is a straight line."""
        start = np.empty_like(self.closest_distance)
        for (a, b), term in self.pairs.items():
            i, j = self.species.index(a), self.species.index(b)
            start[i, j] = start[j, i] = term.grid.start
        return start

    @property
    def cutoff(self) -> float:
        """The longest cut-off, Å."""
        legs = (grid.stop for term in self.trios.values() for grid in term.grids[:2])
        return max(*(term.grid.stop for term in self.pairs.values()), *legs, 0.0)

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
        lists = interaction_lists(positions, complete_cell(positions, cell, atoms.pbc), atoms.pbc, self.tables, 0.0)
        n, s = len(atoms), len(self.species)
        forces, energies, virial = np.empty((n, 3)), np.empty(n), np.empty((3, 3))
        kernels.compute(positions, types[order], lists, self.tables, forces, energies, virial, np.zeros((s, s)), True)
        back = np.argsort(order, kind='stable')
        stress = virial / atoms.cell.volume if atoms.cell.rank == 3 else None
        return Results(float(energies.sum()), energies[back], forces[back], virial, stress)

    def save(self, path: str | os.PathLike) -> list[str]:
        """Write the potential, whole or not at all, in the format of the suffix.

        ``.h5`` carries everything; ``.uf3`` is for LAMMPS, ``.json`` for the UF3 package.

        Returns:
            What the format cannot carry, a line each; nothing for ``.h5``.

        Raises:
            InputError: another suffix, or a term that the format has no place for.
        """
        match Path(path).suffix:
            case '.h5':
                self._save_hdf5(path)
                return []
            case '.uf3':
                return lammps_file.write_uf3(self, path)
            case '.json':
                return uf3_json.write_json(self, path)
        raise InputError(f'{path}: unknown suffix; a potential is written as .h5, .uf3 (LAMMPS) or .json (UF3 package)')

    def _save_hdf5(self, path) -> None:
        with write_hdf5(path, 'potential', FORMAT_VERSION) as file:
            file.attrs['units'] = 'eV, Angstrom'
            file.attrs['species'] = list(self.species)
            file.attrs['settings'] = self.settings
            file.attrs['training_sha256'] = self.training_sha256
            file['one_body'] = self.one_body
            file['closest_distance'] = self.closest_distance
            write_terms(file, self.pairs, self.trios)
            if self.posterior is not None:
                self.posterior.write(file.create_group('posterior'))

    @classmethod
    def load(cls, path: str | os.PathLike) -> UltraFastPotential:
        """Read a potential in the format of the suffix (``.h5``, ``.uf3``, ``.json``).

        Raises:
            InputError: the file is damaged, foreign, or newer or older than this program knows.
        """
        path = check_input(path, 'potential')
        match path.suffix:
            case '.uf3':
                return cls(**lammps_file.read_uf3(path), source=str(path))
            case '.json':
                return cls(**uf3_json.read_json(path), source=str(path))
        with read_hdf5(path, 'potential', FORMAT_VERSION, oldest=FORMAT_VERSION) as file:
            species = tuple(str(name) for name in file.attrs['species'])
            pairs, trios = read_terms(file, species)
            json.loads(file.attrs['settings'])
            potential = cls(
                species=species,
                one_body=file['one_body'][...],
                pairs=pairs,
                trios=trios,
                closest_distance=file['closest_distance'][...],
                settings=str(file.attrs['settings']),
                training_sha256=str(file.attrs['training_sha256']),
                posterior=Posterior.read(file['posterior']) if 'posterior' in file else None,
                source=str(path),
            )
            if potential.posterior is not None:
                potential.posterior.check(len(species), potential.basis.n_columns)
            return potential
