"""The parts that all analyses share: results that are saved, loaded, drawn and shown, and the analysis itself.

An analysis is a function of a source (:class:`PathSource`, :class:`SnapshotSource` or :class:`TensorSource`) and its
settings, made callable with files by :func:`analysis`. The command line, AiiDA and the reference pages are made of what
it declares.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

import h5py

from aiida_ufpnmr.engine.efg.isotopes import Isotope, get_isotope
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import plain
from aiida_ufpnmr.engine.hdf5 import read_hdf5, write_hdf5
from aiida_ufpnmr.engine.nmr.runs import EfgRuns, TensorSettings
from aiida_ufpnmr.engine.records import Record
from aiida_ufpnmr.engine.settings import settings_from_keywords
from aiida_ufpnmr.engine.tables import Tabular
from aiida_ufpnmr.engine.trajectories.paths import IonPaths, PathSettings, ion_paths, path_parts
from aiida_ufpnmr.engine.trajectories.snapshots import Snapshots, SnapshotSettings
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # takes a while to import

#: Table for the terminal, a notebook or a page: rows of text, the heading first.
Table = Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Result(Record, Tabular):
    """Result of an analysis: named arrays with units, results, a table and a figure.

    Attributes:
        source: JSON-ready record of the trajectory: ions, frames, times, files.
        settings: settings by name.
    """

    #: Name of the format, and its version; readers know the older ones.
    KIND: ClassVar[str]
    VERSION: ClassVar[int] = 2

    source: dict[str, Any] = field(default_factory=dict, kw_only=True)
    settings: dict[str, Any] = field(default_factory=dict, kw_only=True)

    @property
    def headline(self) -> str:
        """One line that names the ions and the time."""
        there = {
            'ions': '{ions} {species} ions',
            'composition': '{composition}',
            'frames': '{frames} frames',
            'trajectory_ps': '{trajectory_ps:.4g} ps',
        }
        parts = [text.format(**self.source) for name, text in there.items() if name in self.source]
        return ', '.join(parts) or self.source.get('species', 'ions')

    def plot(self) -> Figure:
        """The figure of the analysis."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """The results with the record of the trajectory and the settings, as JSON-ready values; see the keys page."""
        return {**plain(self.settings), **super().to_dict(), **plain(self.source)}

    def save(self, path: str | os.PathLike) -> None:
        """Write all of it as HDF5, whole or not at all."""
        with write_hdf5(path, self.KIND, self.VERSION) as file:
            self.write(file)

    @classmethod
    def load(cls, path: str | os.PathLike):
        """Read what :meth:`save` wrote, now or in an earlier version.

        Raises:
            InputError: another kind of file, a newer version, or a damaged file.
        """
        with read_hdf5(path, cls.KIND, cls.VERSION) as file:
            return cls.read_first(file) if file.attrs['format_version'] == 1 else cls.read(file)

    @classmethod
    def read_first(cls, file: h5py.File):
        """Read a file of the first version, which held the arrays and few of the results."""
        return cls.read(file)


class PathRecord(TypedDict):
    """Ions, frames and times of a trajectory, JSON-ready."""

    species: str
    ions: int
    frames: int
    frame_spacing_ps: float
    trajectory_ps: float
    reference: str


class SnapshotRecord(TypedDict):
    """Atoms, frames and times of a trajectory, JSON-ready."""

    atoms: int
    composition: str
    frames: int
    frame_spacing_ps: float
    trajectory_ps: float


class TensorRecord(TypedDict):
    """Ions, frames, runs and times of trajectories with EFG tensors, JSON-ready."""

    species: str
    ions: int
    frames: int
    frame_spacing_ps: float
    trajectory_ps: float
    runs: int
    run_files: list[list[str]]
    isotope: str


@dataclass(frozen=True)
class PathSource:
    """Positions of the ions of one species along one trajectory."""

    path: Path
    settings: PathSettings

    @property
    def skip_fs(self) -> float:
        """Time that is left out at the start."""
        return self.settings.skip_ps * 1000

    @cached_property
    def paths(self) -> IonPaths:
        """All positions in memory, unwrapped and free of drift."""
        with Trajectory(self.path) as source:
            return ion_paths(source, self.settings.species, self.skip_fs, self.settings.reference)

    def record(self) -> PathRecord:
        """What the results say about the trajectory."""
        with Trajectory(self.path) as source:
            there = path_parts(source, self.settings.species, self.skip_fs, self.settings.reference)
        return {
            'species': there.species,
            'ions': len(there.index),
            'frames': there.n_frames,
            'frame_spacing_ps': there.step_ps,
            'trajectory_ps': (there.n_frames - 1) * there.step_ps,
            'reference': there.reference,
        }


@dataclass(frozen=True)
class SnapshotSource:
    """Positions of all atoms along one trajectory."""

    path: Path
    settings: SnapshotSettings

    @cached_property
    def snapshots(self) -> Snapshots:
        """The frames, read when they are needed."""
        return Snapshots.open(self.path, self.settings)

    def record(self) -> SnapshotRecord:
        """What the results say about the trajectory."""
        return {
            'atoms': len(self.snapshots.atoms),
            'composition': self.snapshots.atoms.get_chemical_formula('hill'),
            'frames': len(self.snapshots.frames),
            'frame_spacing_ps': self.snapshots.step_ps,
            'trajectory_ps': self.snapshots.length_ps,
        }


@dataclass(frozen=True)
class TensorSource:
    """EFG tensors of the ions of one species along one or several runs, and their nuclide."""

    files: tuple[Path, ...]
    settings: TensorSettings

    @property
    def path(self) -> Path:
        """The first file."""
        return self.files[0]

    @cached_property
    def runs(self) -> EfgRuns:
        """The tensors, read when they are needed."""
        return EfgRuns.open(self.files, self.settings.species or None, self.settings.skip_ps * 1000)

    @cached_property
    def nuclide(self) -> Isotope:
        """The nuclide asked for, or the common one of the species."""
        return get_isotope(self.settings.isotope or self.runs.species)

    def record(self) -> TensorRecord:
        """What the results say about the trajectories."""
        return {
            'species': self.runs.species,
            'ions': self.runs.n_ions,
            'frames': sum(self.runs.lengths),
            'frame_spacing_ps': self.runs.step_ps,
            'trajectory_ps': (max(self.runs.lengths) - 1) * self.runs.step_ps,
            'runs': len(self.runs.lengths),
            'run_files': self.runs.files,
            'isotope': self.nuclide.name,
        }


@dataclass(frozen=True)
class Analysis:
    """An analysis of trajectory files, called with their paths and settings by keyword.

    Attributes:
        name: of the sub-command.
        function: takes a source and the settings and returns the result.
        Settings, Result: their types.
        source: type of the source; one of tensors takes several files.
        example: a command line.
    """

    name: str
    function: Callable[[Any, Any], Any]
    Settings: type[Any]
    Result: type[Any]
    source: type[PathSource] | type[SnapshotSource] | type[TensorSource]
    example: str

    @property
    def many_files(self) -> bool:
        """Whether several files may be given, as pieces of a run or as runs of their own."""
        return self.source is TensorSource

    def __call__(self, trajectory: str | os.PathLike | Sequence[str | os.PathLike], **settings: Any) -> Any:
        """Analyse a trajectory file, or several where tensors are averaged.

        Raises:
            InputError: a file or a setting that cannot be used; the message names it.
        """
        return self.run(trajectory, settings_from_keywords(self.Settings, settings, self.name))

    def run(self, trajectory: str | os.PathLike | Sequence[str | os.PathLike], settings: Any) -> Any:
        """Analyse with settings that are made already."""
        given = [trajectory] if isinstance(trajectory, (str, os.PathLike)) else trajectory
        files = tuple(map(Path, given))
        if not files or (len(files) > 1 and not self.many_files):
            raise InputError(f'{self.name} takes one trajectory file, not {len(files)}')
        make: Callable[..., Any] = self.source
        source = make(files if self.many_files else files[0], settings)
        try:
            found = self.function(source, settings)
        except InputError as error:
            named = any(str(path) in str(error) for path in files)
            raise error if named else InputError(f'{files[0]}: {error}') from error
        return dataclasses.replace(found, source=source.record(), settings=dataclasses.asdict(settings))


def analysis(name: str, example: str) -> Callable[[Callable], Analysis]:
    """Make an :class:`Analysis` of a function whose parameters and result are annotated with their types.

    Raises:
        TypeError: a field of the result has the name of an entry of the source's record, which would hide it.
    """

    def make(function: Callable) -> Analysis:
        hints = typing.get_type_hints(function)
        source, settings = (hints[parameter] for parameter in inspect.signature(function).parameters)
        recorded = typing.get_type_hints(source.record)['return'].__annotations__
        hidden = [one.name for one in dataclasses.fields(hints['return']) if one.name in recorded]
        if hidden:
            raise TypeError(
                f'{name}: the record of the trajectory has {", ".join(hidden)}, too; name the result otherwise'
            )
        made = Analysis(
            name=name, function=function, Settings=settings, Result=hints['return'], source=source, example=example
        )
        object.__setattr__(made, '__doc__', function.__doc__)
        return made

    return make
