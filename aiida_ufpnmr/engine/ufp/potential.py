"""The ultra-fast potential: one-, two- and three-body B-splines (Xie, Rupp & Hennig, npj Comput. Mater. 9, 162 (2023)).

E = Σ_i [E₁(s_i) + Σ_{j≠i} V₂(r_ij) + Σ_{j<k} V₃(r_ij, r_ik, r_jk)]

Each pair counts in both orders, as in LAMMPS ``pair_style uf3``.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.dataset import check_geometry
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_input
from aiida_ufpnmr.engine.neighbours import complete_cell
from aiida_ufpnmr.engine.ufp import kernels
from aiida_ufpnmr.engine.ufp.content import PotentialContent
from aiida_ufpnmr.engine.ufp.equations import species_numbers
from aiida_ufpnmr.engine.ufp.hdf5_file import read_hdf5_file, write_hdf5_file
from aiida_ufpnmr.engine.ufp.lammps_file import read_uf3, write_uf3
from aiida_ufpnmr.engine.ufp.lists import interaction_lists
from aiida_ufpnmr.engine.ufp.tables import Tables, build_tables
from aiida_ufpnmr.engine.ufp.uf3_json import read_json, write_json

Reader = Callable[[Path], PotentialContent]
#: Writes a potential, and returns what the format cannot carry, a line each.
Writer = Callable[[PotentialContent, str | os.PathLike], list[str]]
#: File formats by suffix.
FORMATS: dict[str, tuple[Reader, Writer]] = {
    '.h5': (read_hdf5_file, write_hdf5_file),
    '.uf3': (read_uf3, write_uf3),
    '.json': (read_json, write_json),
}


@dataclass(frozen=True)
class Results:
    """Energies, forces and virial of a structure.

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
class UltraFastPotential(PotentialContent):
    """An ultra-fast potential that computes energies and forces.

    The attributes are those of :class:`~aiida_ufpnmr.engine.ufp.content.PotentialContent`.
    """

    def __repr__(self) -> str:
        return f'{type(self).__name__}({", ".join(self.species)}; cut-off {self.cutoff:g} Å; {self.source})'

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

    def types(self, atoms: Atoms) -> np.ndarray:
        """Species number of each atom; :class:`InputError` for an element that the potential does not know."""
        unknown = sorted(set(atoms.get_chemical_symbols()) - set(self.species))
        if unknown:
            raise InputError(
                f'{self.source}: does not know {", ".join(unknown)}; it was fitted to {", ".join(self.species)}'
            )
        return species_numbers(atoms, self.species)

    def compute(self, atoms: Atoms) -> Results:
        """Energy, forces and virial of a structure.

        Raises:
            InputError: an unknown element, or a geometry on which nothing can be computed.
        """
        types = self.types(atoms)
        check_geometry(atoms, self.source)
        order = np.argsort(types, kind='stable')
        positions = np.ascontiguousarray(atoms.positions[order])
        cell = complete_cell(positions, atoms.cell.array, atoms.pbc)
        lists = interaction_lists(positions, types[order], cell, atoms.pbc, self.tables, 0.0)
        n, s = len(atoms), len(self.species)
        forces, energies, virial = np.empty((n, 3)), np.empty(n), np.empty((3, 3))
        kernels.compute(positions, types[order], lists, self.tables, forces, energies, virial, np.zeros((s, s)), True)
        back = np.argsort(order, kind='stable')
        stress = virial / atoms.cell.volume if atoms.cell.rank == 3 else None
        return Results(
            energy=float(energies.sum()), energies=energies[back], forces=forces[back], virial=virial, stress=stress
        )

    def save(self, path: str | os.PathLike) -> list[str]:
        """Write the potential, whole or not at all, in the format of the suffix.

        ``.h5`` carries everything; ``.uf3`` is for LAMMPS, ``.json`` for the UF3 package.

        Returns:
            What the format cannot carry, a line each; nothing for ``.h5``.

        Raises:
            InputError: another suffix, or a term that the format has no place for.
        """
        suffix = Path(path).suffix
        if suffix not in FORMATS:
            raise InputError(
                f'{path}: unknown suffix; a potential is written as .h5, .uf3 (LAMMPS) or .json (UF3 package)'
            )
        return FORMATS[suffix][1](self, path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> UltraFastPotential:
        """Read a potential in the format of the suffix (``.h5``, ``.uf3``, ``.json``; any other is taken for HDF5).

        Raises:
            InputError: the file is damaged, foreign, or newer or older than this program knows.
        """
        path = check_input(path, 'potential')
        read, _ = FORMATS.get(path.suffix, FORMATS['.h5'])
        content = read(path)
        fields = {field.name: getattr(content, field.name) for field in dataclasses.fields(content)}
        return cls(**{**fields, 'source': str(path)})
