"""Trajectories as nodes."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from aiida.common.exceptions import ValidationError
from aiida.orm import Computer, Data

from aiida_ufpnmr.data.checked_file import attribute
from aiida_ufpnmr.data.hdf5 import Hdf5Data
from aiida_ufpnmr.engine.errors import InputError

if t.TYPE_CHECKING:
    import h5py

    from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory

#: What a node says of a file that stays on a computer.
KEPT = ('path', 'pieces', 'size_bytes')


class TrajectoryData(Hdf5Data):
    """An H5MD file with positions, EFG tensors, or both; arrays stay in the file until they are asked for.

    The rows of a long run may lie in pieces beside the file. The repository keeps equal files once, so a trajectory
    that was joined from the parts of a run takes no room of its own. Or the file stays on the computer where it was
    made, and the node holds what describes it; calculations read it there.
    """

    DEFAULT_FILENAME = 'trajectory.h5'

    @classmethod
    def kept_on(cls, computer: Computer, kept: Mapping[str, t.Any]) -> TrajectoryData:
        """A trajectory that stays on a computer.

        Args:
            computer: where it is.
            kept: what :func:`~aiida_ufpnmr.engine.trajectories.keeping.keep` said there.
        """
        node = cls.__new__(cls)
        Data.__init__(node, computer=computer)
        places = {name: kept[name] for name in KEPT}
        described = {name: value for name, value in kept.items() if name not in KEPT}
        node.base.attributes.set_many({**described, 'filename': cls.DEFAULT_FILENAME, 'kept': places})
        return node

    kept = attribute('kept', 'Of a file that stays where it was made: `path`, `pieces` (beside it) and `size_bytes`.')

    @property
    def keeper(self) -> Computer:
        """The computer where the file of a trajectory stays that is :attr:`kept`."""
        assert self.computer is not None  # by `kept_on`
        return self.computer

    @property
    def left_out_bytes(self) -> int | None:
        return self.kept['size_bytes'] if self.kept else super().left_out_bytes

    def check_is_there(self) -> None:
        if self.kept and not self.base.repository.list_object_names():
            raise InputError(
                f'{type(self).__name__} {self.uuid}: its file stays on {self.keeper.label}, at {self.kept["path"]}; '
                f'fetch it with "aiida-ufpnmr trajectory fetch {self.uuid}"'
            )
        super().check_is_there()

    def _set_path(self, path: Path, filename: str | Path | None) -> None:
        from aiida_ufpnmr.engine.trajectories.chain import files_of  # takes a while to import

        super()._set_path(path, filename)
        for piece in files_of(path):
            if piece != path:
                self.base.repository.put_object_from_file(str(piece.absolute()), str(piece.relative_to(path.parent)))

    def _validate(self) -> bool:
        """Refuse anything but one file, and the folder of its pieces where it has some."""
        Data._validate(self)
        if self.kept:
            return True
        names = self.base.repository.list_object_names()
        if self.filename not in names or len(names) > 2:
            raise ValidationError(f'a trajectory and its pieces should be here, not {names}')
        return True

    @property
    def is_in_pieces(self) -> bool:
        """True where the rows lie in files beside the file itself."""
        return self.kept['pieces'] if self.kept else len(self.base.repository.list_object_names()) > 1

    @contextmanager
    def as_path(self) -> Iterator[Path]:
        """A copy of the file, with its pieces beside it, as long as the context lasts."""
        self.check_is_there()
        with self.base.repository.as_path() as folder:
            yield Path(folder) / self.filename

    @contextmanager
    def _readable(self) -> Iterator[Path | t.BinaryIO]:
        """A source that the engine can open: the file where it lies, or a copy of it with its pieces."""
        if self.is_in_pieces:
            with self.as_path() as path:
                yield path
        else:
            with self.open(mode='rb') as handle:
                yield handle

    @contextmanager
    def open_hdf5(self) -> Iterator[h5py.File]:
        """Open the file for reading; where it is in pieces, a copy of them."""
        from aiida_ufpnmr.engine.hdf5 import open_hdf5

        with self._readable() as source, open_hdf5(source) as file:
            yield file

    @classmethod
    def describe(cls, path: Path) -> dict[str, t.Any]:
        from aiida_ufpnmr.engine.trajectories.keeping import describe

        return describe(path)

    @contextmanager
    def open_trajectory(self) -> Iterator[Trajectory]:
        """The trajectory as the engine reads it, lazily, and without a copy of the file unless it is in pieces."""
        from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory

        with self._readable() as source, Trajectory(source) as trajectory:
            yield trajectory

    n_frames = attribute('n_frames', 'Number of frames with positions.')
    n_atoms = attribute('n_atoms', 'Number of atoms; 0 where the file holds EFG tensors only.')
    time_ps = attribute('time_ps', 'Time from the first frame to the last, in ps.')
    species = attribute('species', 'Chemical symbols of the atoms, sorted.')
