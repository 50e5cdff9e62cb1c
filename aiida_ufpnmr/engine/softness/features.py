"""Features of ions along a trajectory: structure functions, and |C_Q| and η where EFG tensors are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from aiida_ufpnmr.engine.efg.isotopes import get_isotope
from aiida_ufpnmr.engine.efg.tensors import asymmetry, quadrupolar_coupling
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.softness.averages import averaged_parts, frames_in, trailing_mean
from aiida_ufpnmr.engine.softness.structure_functions import EFG, StructureFunctions, StructureSettings
from aiida_ufpnmr.engine.trajectories.series import efg_group
from aiida_ufpnmr.engine.trajectories.snapshots import Snapshots
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory

#: Names of the features of an EFG tensor.
EFG_NAMES = ('|C_Q| kHz', 'eta')
#: Upper limit on the features held at a time.
PART_BYTES = 16e6


@dataclass(frozen=True)
class Features:
    """Features of the ions of one species.

    Attributes:
        species: chemical symbol of the ions.
        functions: radial and angular structure functions.
    """

    species: str
    functions: StructureFunctions

    @classmethod
    def of(cls, species: str, symbols: np.ndarray, settings: StructureSettings) -> Features:
        """With the partners that are asked for, or all elements of a structure with these symbols (n_atoms,)."""
        there = np.unique(symbols) if settings.partners == 'all' else np.unique(settings.partners.split(','))
        return cls(species, StructureFunctions(tuple(map(str, there)), settings))

    @property
    def names(self) -> tuple[str, ...]:
        """(n_features,) names."""
        return self.functions.names + (EFG_NAMES if EFG in self.functions.settings.sets else ())

    def parts(self, snapshots: Snapshots) -> Iterator[np.ndarray]:
        """Features (frames, n_ions, n_features) of the frames of a trajectory, some at a time.

        Raises:
            InputError: an element that the features do not know, no ion, or no EFG tensors where they are asked for.
        """
        symbols, ions = snapshots.symbols, snapshots.chosen(self.species, 'species')
        settings, unknown = self.functions.settings, set(symbols) - set(self.functions.partners)
        if settings.partners == 'all' and unknown:
            others = ', '.join(sorted(unknown))
            raise InputError(
                f'{snapshots.path}: holds {others}, of which the model knows nothing; fit one to runs that hold it'
            )
        tensors = _Tensors(snapshots, self.species, ions, settings.average_ps) if EFG in settings.sets else None
        frame, size = 0, max(1, int(PART_BYTES // (8 * len(ions) * len(self.names))))
        for positions, cells in averaged_parts(snapshots, settings.average_ps):
            for first in range(0, len(positions), size):
                part = slice(first, first + size)
                found = self.functions.of(positions[part], cells[part], snapshots.atoms.pbc, symbols, ions)
                if tensors is not None:
                    found = np.concatenate([found, tensors.features(frame, frame + len(found))], axis=2)
                frame += len(found)
                yield found


class _Tensors:
    """EFG tensors of all ions in the frames of a trajectory, read when they are asked for."""

    def __init__(self, snapshots: Snapshots, species: str, ions: np.ndarray, average_ps: float):
        self.path, self.isotope = snapshots.path, get_isotope(species)
        with Trajectory(self.path) as trajectory:
            self.group = efg_group(trajectory.one_efg_species(species))
            time_fs = trajectory.series(f'{self.group}/efg')['time'][...]
            known = trajectory.series(self.group)['id'][...]
        self.rows = np.clip(np.searchsorted(time_fs, snapshots.time_fs - 1e-3), 0, max(0, len(time_fs) - 1))
        if not len(time_fs) or np.abs(time_fs[self.rows] - snapshots.time_fs).max() > 1e-2:
            raise InputError(f'{self.path}: holds no EFG tensors at the times of the frames; raise --stride to theirs')
        if not np.isin(ions, known).all():
            raise InputError(f'{self.path}: holds no EFG tensors of some {species} ions')
        self.columns, self.count = np.searchsorted(known, ions), frames_in(average_ps, time_fs)

    def features(self, start: int, stop: int) -> np.ndarray:
        """|C_Q| in kHz and η of the ions in a range of frames, (frames, n_ions, 2)."""
        rows = self.rows[start:stop]
        first = max(0, rows[0] - self.count + 1)
        with Trajectory(self.path) as trajectory:
            read = trajectory.series(f'{self.group}/efg')['value'][first : rows[-1] + 1]
        tensors = trailing_mean(read[:, self.columns].astype(float), rows - first, self.count)
        return np.stack([np.abs(quadrupolar_coupling(tensors, self.isotope)), asymmetry(tensors)], axis=-1)
