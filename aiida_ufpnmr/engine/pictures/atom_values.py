"""Numbers by atom, read from a table, a NumPy array or the result of an analysis."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_input
from aiida_ufpnmr.engine.hdf5 import content_hash, open_whole


@dataclass(frozen=True)
class AtomValues:
    """A number for each atom, or for some.

    Attributes:
        values: (n_atoms,); NaN for atoms without one.
        label: of a colour bar.
    """

    values: np.ndarray
    label: str

    @property
    def known(self) -> np.ndarray:
        """(n_atoms,) booleans, the atoms that have one."""
        return np.isfinite(self.values)

    @property
    def signed(self) -> bool:
        """Whether there are numbers on both sides of zero, as of softness: colours then part at zero."""
        return bool(self.values[self.known].min() < 0 < self.values[self.known].max())

    @property
    def span(self) -> tuple[float, float]:
        """Ends of the scale: the smallest and the largest number; as far on both sides of zero where both signs are."""
        low, high = float(self.values[self.known].min()), float(self.values[self.known].max())
        if self.signed:
            return -max(-low, high), max(-low, high)
        return (low, high) if high > low else (low - 0.5, high + 0.5)

    @property
    def colours(self) -> str:
        """Name of the colour map."""
        return 'RdBu' if self.signed else 'viridis'


def read_atom_values(path: str, n_atoms: int, frame: int = 0, trajectory: Path | None = None) -> AtomValues:
    """Read a number by atom.

    Args:
        path: an array (n_atoms,) as ``.npy``; text with a number a line for all atoms, or lines of an index and a
            number; or ``RESULT.h5:NAME``, an array of the result of an analysis beside the indices ``atom``.
        n_atoms: how many atoms there are.
        frame: of the trajectory; of results with a row for each ``frame``, the row of the last that is not later.
        trajectory: whose atoms these are, for results that name theirs.

    Raises:
        InputError: a file that holds none, numbers of other atoms, of another trajectory or of later frames, or two of
            one atom.
    """
    file, colon, name = path.rpartition(':')
    if colon and file.endswith('.h5'):
        index, values = _of_result(check_input(file, 'result'), name, frame, trajectory)
    else:
        index, values = _of_table(check_input(path, 'file of numbers'), n_atoms)
        name = Path(path).stem
    if not np.isin(index, np.arange(n_atoms)).all():
        raise InputError(f'{path}: the indices of atoms are whole numbers from 0 to {n_atoms - 1}')
    if len(np.unique(index)) < len(index):
        raise InputError(f'{path}: has two numbers for one atom')
    found = np.full(n_atoms, np.nan)
    found[index.astype(int)] = values
    if not np.isfinite(found).any():
        raise InputError(f'{path}: holds no finite number')
    return AtomValues(found, name.replace('_', ' '))


def _of_table(path: Path, n_atoms: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and numbers of an array or a text."""
    try:
        table = np.load(path, allow_pickle=False) if path.suffix == '.npy' else np.loadtxt(path, ndmin=2)
        table = np.asarray(table, float)
    except (ValueError, OSError) as error:
        raise InputError(f'{path}: holds no table of numbers, one line an atom') from error
    if table.ndim == 2 and table.shape[1] == 2:
        return table[:, 0], table[:, 1]
    if table.shape not in ((n_atoms,), (n_atoms, 1)):
        raise InputError(
            f'{path}: has the shape {table.shape}, not a number for each of {n_atoms} atoms; lines of an index and a '
            'number name some atoms'
        )
    return np.arange(n_atoms), table.ravel()


def _of_result(path: Path, name: str, frame: int, trajectory: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Indices and numbers of a file that an analysis wrote."""
    with open_whole(path) as file:
        known = file.attrs.get('trajectory_sha256', '')
        if trajectory is not None and known and known != content_hash(trajectory):
            raise InputError(f'{path}: {name} of another trajectory than {trajectory}; analyse that one')
        if 'atom' not in file:
            raise InputError(f'{path}: has no indices of atoms ("atom"); take the result of softness, voronoi or rings')
        shapes = [file['atom'].shape]
        if 'frame' in file:
            shapes.append(file['frame'].shape + file['atom'].shape)
        arrays = {one: value for one, value in file.items() if isinstance(value, h5py.Dataset) and one != 'atom'}
        alike = [one for one, value in arrays.items() if value.shape in shapes]
        if name not in alike:
            raise InputError(f'{path}: has no number by atom {name!r}, only {", ".join(alike) or "none"}')
        values = arrays[name]
        if values.ndim == 1:
            return file['atom'][...], values[...].astype(float)
        row = int(np.searchsorted(file['frame'][...], frame, side='right')) - 1
        if row < 0:
            raise InputError(f'{path}: begins at frame {file["frame"][0]}, after frame {frame}; choose a later one')
        return file['atom'][...], values[row].astype(float)
