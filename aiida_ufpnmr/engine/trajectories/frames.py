"""Frames of trajectories of any program, read one after the other, and what a user says about them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from aiida_ufpnmr.engine.files import OPENERS
from aiida_ufpnmr.engine.settings import Settings, numbers, setting

LengthUnit = Literal['', 'Angstrom', 'nm', 'pm', 'Bohr']


@dataclass(frozen=True)
class Frame:
    """One frame as a file holds it.

    Attributes:
        positions: (n_atoms, 3) in Å.
        cell: (3, 3) cell vectors in Å; ``None`` where the file holds none.
        oriented: whether the cell is that of the file; else only its lengths and angles are, and it lies along x.
        pbc: (3,) booleans.
        labels: (n_atoms,) symbols, names, or numbers of types as text; ``None`` where the file holds none.
        masses: (n_atoms,) in amu, where the file holds them.
        atomic_numbers: whether labels that are numbers may be atomic numbers.
        step, time_fs: number of the step, and time in fs, where the file holds them.
        number: of the frame, where the file counts frames and no steps.
        spacing_fs: time between two frames where no frame has a time, of a file beside.
        unwrapped: whether positions are known to be unwrapped.
        efg: (n_atoms, 3, 3) in a.u., NaN for atoms that have none.
        notes: what the reader took for granted, for the user to know.
    """

    positions: np.ndarray
    cell: np.ndarray | None = None
    oriented: bool = True
    pbc: np.ndarray | tuple[bool, bool, bool] = (True, True, True)
    labels: np.ndarray | None = None
    masses: np.ndarray | None = None
    atomic_numbers: bool = False
    step: int | None = None
    time_fs: float | None = None
    number: int | None = None
    spacing_fs: float | None = None
    unwrapped: bool = False
    efg: np.ndarray | None = None
    notes: tuple[str, ...] = ()


def cell_of(cell: Any) -> np.ndarray:
    """Cell vectors (3, 3) in Å of three lengths, with three angles in degrees or without, or nine components."""
    found = np.asarray(cell, float).ravel()
    if len(found) not in (3, 6, 9) or not np.isfinite(found).all():
        raise ValueError('a cell is 3, 6 or 9 finite numbers with commas between')
    if len(found) == 9:
        return found.reshape(3, 3)
    from ase.geometry import cellpar_to_cell  # takes a while to import

    return cellpar_to_cell(found)


def _cell(value: Any) -> tuple[float, ...]:
    return tuple(map(float, cell_of(numbers(value)).ravel()))


@dataclass(frozen=True)
class ReadingSettings(Settings):
    """What files of other programs do not say themselves."""

    timestep_fs: float | None = setting(
        None, 'Time step of the run in fs, where a file holds no times.', above=0, option='timestep'
    )
    every: int | None = setting(
        None, 'Steps between two frames, where a file holds no steps; 1 where not given.', least=1
    )
    elements: str = setting('', 'Elements of types 1, 2, ... such as Li,P,S; or of names, such as LI1=Li,SX=S.')
    topology: str = setting(
        '', 'File that names the atoms of a DCD, XTC, TRR, NetCDF or NumPy file, or .cell file of CP2K.'
    )
    cell: tuple[float, ...] | None = setting(
        None, 'Cell in Å, where a file holds none: a,b,c or a,b,c,α,β,γ or nine numbers.', parse=_cell
    )
    length_unit: LengthUnit = setting('', 'Unit of positions, where an H5MD file names none.')
    fractional: bool = setting(False, 'Positions in a NumPy file are fractional.')
    unwrapped: bool = setting(False, 'Positions are unwrapped, also where atoms jump by half a cell.')
    frames: int | None = setting(None, 'Read the first frames of each file only, so many.', least=1)

    @property
    def fixed_cell(self) -> np.ndarray | None:
        """The cell that was given, (3, 3) in Å."""
        return None if self.cell is None else np.reshape(self.cell, (3, 3))

    @property
    def given(self) -> list[str]:
        """Names of the settings that differ from their defaults."""
        return [name for name, value in vars(self).items() if value != getattr(type(self), name)]


def shortest(number: Any) -> float:
    """The shortest decimal number that one with 32 bits stands for; others as they are."""
    return float(str(number)) if np.asarray(number).dtype == np.float32 else float(number)


def open_text(path: Path) -> io.TextIOBase:
    """Open a text file for reading, compressed by gzip, bzip2 or xz or not, with a byte order mark or without.

    Only titles and comments hold other letters than those of ASCII; which ones is of no matter.
    """
    return OPENERS.get(path.suffix.lower(), open)(path, 'rt', encoding='utf-8-sig', errors='replace')


def take(file: Any, count: int) -> list[str]:
    """The next lines of a text file, so many; :class:`EOFError` where there are fewer."""
    lines = list(islice(file, count))
    if len(lines) < count:
        raise EOFError('ends within a frame')
    return lines


#: A reader: frames of a file, given what the user says about it.
Reader = Callable[[Path, ReadingSettings], Iterator[Frame]]
