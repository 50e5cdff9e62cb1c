"""The base of all nodes that hold an HDF5 file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiida_ufpnmr.data.checked_file import CheckedFileData

if TYPE_CHECKING:
    import h5py


class Hdf5Data(CheckedFileData):
    """A checked HDF5 file, read lazily where it lies in the repository."""

    @contextmanager
    def open_hdf5(self) -> Iterator[h5py.File]:
        """Open the file for reading without copying it; arrays are read when they are indexed."""
        from aiida_ufpnmr.engine.hdf5 import open_hdf5  # takes a while to import, as all that reads files

        with self.open(mode='rb') as handle, open_hdf5(handle) as file:
            yield file
