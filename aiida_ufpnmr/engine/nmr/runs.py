"""EFG tensors of one or several runs, read a block of ions at a time, so that memory does not grow with them.

Files whose times go on where those of the file before end are one run (a restart), and so are the parts of a run that
was cut off, in any order; any other file is a run of its own (a replica). Averages are taken over all runs; no pair of
times spans two of them, and no frame counts twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product
from pathlib import Path

import numpy as np

from aiida_ufpnmr.engine.efg.isotopes import Isotope
from aiida_ufpnmr.engine.efg.tensors import KHZ_PER_MB_AU, to_irreps
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.nmr.principal import coupling_and_asymmetry
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.settings import Settings, setting
from aiida_ufpnmr.engine.trajectories.trajectory import EfgSeries, Trajectory, efg_group, regular_frames
from aiida_ufpnmr.engine.trajectories.writer import follows_step

#: Upper limit on the series held at a time; each block reads, and unpacks, the files once.
BLOCK_BYTES = 1.5e9
#: Tensors that are read at a time.
CHUNK_BYTES = 64e6
#: <ω_Q ω_Q'> over directions of the field, in units of V:V'.
POWDER = 2 / 15
#: Rows of a block: five components, then |C_Q|.
COMPONENTS, COUPLING = slice(0, 5), 5


@dataclass(frozen=True)
class TensorSettings(Settings):
    """Choice of the ions and their nuclide."""

    species: str = setting('', 'Element whose EFG tensors to use, where the trajectory holds several.')
    isotope: str = setting('', 'Nuclide, such as 6Li; default the common one of the species.')
    skip_ps: float = setting(0.0, 'Leave out the first ps of each run.', least=0)


@dataclass(frozen=True)
class FileSegment:
    """Consecutive frames of a file, and their times (n_frames,)."""

    time_fs: np.ndarray
    path: Path
    frames: slice

    def part(self, first: int, stop: int | None = None) -> FileSegment:
        """Some of the frames."""
        time_fs = self.time_fs[first:stop]
        start = self.frames.start + first
        return FileSegment(time_fs, self.path, slice(start, start + len(time_fs)))

    def frame(self, number: int, species: str) -> np.ndarray:
        """The tensors of one frame, (n_ions, 3, 3)."""
        with Trajectory(self.path) as source:
            return source.series(f'{efg_group(species)}/efg')['value'][self.frames.start + number]

    def chunks(self, species: str) -> Iterator[np.ndarray]:
        """The tensors, some frames at a time; :class:`InputError` where one is not finite."""
        with Trajectory(self.path) as source:
            value = source.series(f'{efg_group(species)}/efg')['value']
            size = max(1, int(CHUNK_BYTES // (36 * value.shape[1])))
            for start in range(self.frames.start, self.frames.stop, size):
                part = value[start : min(start + size, self.frames.stop)]
                _check_finite(part, start, self.path, 'EFG is NaN or infinite; remake the trajectory')
                yield part


@dataclass(frozen=True)
class ArraySegment:
    """Frames in memory: their times (n_frames,) and tensors (n_frames, n_ions, 3, 3)."""

    time_fs: np.ndarray
    tensors: np.ndarray
    path: None = None

    def chunks(self, species: str) -> Iterator[np.ndarray]:
        """The tensors, all at once."""
        yield self.tensors


#: Consecutive frames of a run.
Segment = FileSegment | ArraySegment


def _check_finite(tensors: np.ndarray, first: int, source: Path | str, reason: str) -> None:
    bad = np.flatnonzero(~np.isfinite(tensors).all(axis=(1, 2, 3)))
    if len(bad):
        raise InputError(f'{source}, frame {first + int(bad[0])}: {reason}')


@dataclass
class IonBlock:
    """Series of some ions.

    Attributes:
        ions: their positions among all.
        series: for each run (n_ions, 6, n_frames): five components of ω_Q and |C_Q|, in kHz.
        eta_sum, eta_count: sum of the asymmetry parameters that are defined, and their number.
    """

    ions: slice
    series: list[np.ndarray] = field(default_factory=list)
    eta_sum: float = 0.0
    eta_count: int = 0


@dataclass(frozen=True)
class EfgRuns:
    """EFG tensors of the same ions in one or several runs.

    Attributes:
        species, index: chemical symbol and atom indices of the ions.
        step_ps: time between frames.
        runs: the segments of each run.
    """

    species: str
    index: np.ndarray
    step_ps: float
    runs: tuple[tuple[Segment, ...], ...]

    @classmethod
    def of(cls, series: EfgSeries) -> EfgRuns:
        """One run that is in memory.

        Raises:
            InputError: fewer than two frames, frames not equally spaced, or tensors not finite.
        """
        if regular_frames(series.time_fs, 0.0, 'EFG series').stop < len(series.time_fs):
            raise InputError(
                'EFG series: frames are not equally spaced in time, which correlation needs; leave the last one out'
            )
        _check_finite(series.tensors, 0, 'EFG series', 'a tensor is NaN or infinite')
        segment = ArraySegment(series.time_fs, series.tensors)
        return cls(series.species, series.index, series.timestep_fs * 1e-3, ((segment,),))

    @classmethod
    def open(cls, paths: Sequence[Path], species: str | None = None, skip_fs: float = 0.0) -> EfgRuns:
        """Runs in files; ``skip_fs`` is left out at the beginning of each run.

        Raises:
            InputError: no EFG tensors, several species and none named, other ions or another time between frames than
                in the first file, frames not equally spaced, or too few; the same frames in two files.
        """
        files: list[FileSegment] = []
        known, index, step_fs = species or '', np.zeros(0, int), np.nan
        for path in paths:
            with Trajectory(path) as source:
                known = source.one_efg_species(known or None)
                group = source.series(efg_group(known))
                if 'efg' not in group:
                    raise InputError(f'{path}: holds no frame with EFG tensors')
                time_fs, there = group['efg/time'][...], group['id'][...]
            frames = regular_frames(time_fs, 0.0, path)
            time_fs = time_fs[frames]
            step = float(time_fs[1] - time_fs[0])
            if not files:
                index, step_fs = there, step
            if not np.array_equal(there, index):
                raise InputError(f'{path}: its {known} ions are not those of {paths[0]}; give runs of one structure')
            if not np.isclose(step, step_fs, rtol=1e-6):
                raise InputError(f'{path}: has a frame every {step:g} fs, {paths[0]} every {step_fs:g} fs')
            files.append(FileSegment(time_fs, Path(path), frames))
        runs = _joined(files, known, step_fs)
        for one, other in combinations(runs, 2):
            _check_distinct(one, other, known, step_fs)
        return cls(known, index, step_fs * 1e-3, tuple(_without_start(run, skip_fs) for run in runs))

    @property
    def n_ions(self) -> int:
        """Number of ions."""
        return len(self.index)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Frames of each run."""
        return tuple(sum(len(segment.time_fs) for segment in run) for run in self.runs)

    @property
    def files(self) -> list[list[str]]:
        """Names of the files of each run."""
        return [[segment.path.name for segment in run if segment.path] for run in self.runs]

    def time_fs(self, run: int) -> np.ndarray:
        """Times of the frames of one run."""
        return np.concatenate([segment.time_fs for segment in self.runs[run]])

    def chunks(self, run: int) -> Iterator[tuple[slice, np.ndarray]]:
        """The tensors of one run, some frames at a time, each time with the place of these frames in the run."""
        stop = 0
        for segment in self.runs[run]:
            for part in segment.chunks(self.species):
                start, stop = stop, stop + len(part)
                yield slice(start, stop), part

    def blocks(self, isotope: Isotope, dtype: type = np.float32) -> Iterator[IonBlock]:
        """All ions, as many at a time as memory allows; each block reads the files once."""
        if self.runs[0][0].path is None:
            dtype = np.float64
        khz = KHZ_PER_MB_AU * isotope.moment_mb
        per_ion = 6 * np.dtype(dtype).itemsize * sum(self.lengths)
        size = max(1, int(BLOCK_BYTES // per_ion))
        n_blocks = -(-self.n_ions // size)
        size = -(-self.n_ions // n_blocks)
        with progress(n_blocks * sum(self.lengths), 'EFG tensors', 'frame') as bar:
            for start in range(0, self.n_ions, size):
                block = IonBlock(slice(start, min(start + size, self.n_ions)))
                for run, length in enumerate(self.lengths):
                    out = np.empty((block.ions.stop - start, 6, length), dtype)
                    for rows, part in self.chunks(run):
                        tensors = np.asarray(part[:, block.ions], float)
                        out[:, COMPONENTS, rows] = khz * np.moveaxis(to_irreps(tensors), 0, -1)
                        coupling, eta = coupling_and_asymmetry(tensors)
                        out[:, COUPLING, rows] = abs(khz) * coupling.T
                        block.eta_sum += float(np.nansum(eta))
                        block.eta_count += int(np.isfinite(eta).sum())
                        bar.update(len(tensors))
                    block.series.append(out)
                yield block


def _joined(files: list[FileSegment], species: str, step_fs: float) -> list[list[FileSegment]]:
    """Segments of each run, each frame once: those of files that go on from others stand behind them."""
    runs: list[list[FileSegment]] = []
    waiting = [(file, follows_step(file.path) is not None) for file in files]
    while waiting:
        candidates = [[run for run in runs if _can_precede(run[-1], one, species, step_fs)] for one, _ in waiting]
        ready = [n for n, (before, (_, is_part)) in enumerate(zip(candidates, waiting)) if before or not is_part]
        # where none is ready, the part before is not among the files
        number = ready[0] if ready else min(range(len(waiting)), key=lambda n: waiting[n][0].time_fs[0])
        (file, is_part), before = waiting.pop(number), candidates[number]
        begin = file.time_fs[0]
        if not is_part:  # of a restart without such a note, at most the frame at the seam is there twice
            before = [run for run in before if run is runs[-1] and begin > run[-1].time_fs[-1] - 0.5 * step_fs]
        if len(before) > 1:
            raise InputError(f'{file.path}: goes on from several of the files; give one run after the other')
        if not before:
            runs.append([file])
            continue
        run = before[0]
        if is_part:  # what the part before holds from there on was made again
            run[-1] = run[-1].part(0, int(np.searchsorted(run[-1].time_fs, begin - 0.5 * step_fs)))
        else:
            file = file.part(int(np.searchsorted(file.time_fs, run[-1].time_fs[-1] + 0.5 * step_fs)))
        if abs(file.time_fs[0] - run[-1].time_fs[-1] - step_fs) > 1e-3 * step_fs:
            raise InputError(f'{file.path}: goes on from the file before it, but not in step; frames are missing')
        run.append(file)
    return runs


def _can_precede(last: FileSegment, file: FileSegment, species: str, step_fs: float) -> bool:
    """Test that a file begins within or right after the last segment of a run, with its tensors, and ends later."""
    begin, end = last.time_fs[[0, -1]]
    first = file.time_fs[0]
    fits = max(begin, 0.0) + 0.5 * step_fs < first < end + 1.001 * step_fs and file.time_fs[-1] > end - 0.5 * step_fs
    return fits and (first > end + 1e-3 * step_fs or _same_tensors(last, file, first, species, step_fs, 1e-3))


def _check_distinct(run: list[FileSegment], other: list[FileSegment], species: str, step_fs: float) -> None:
    """Refuse runs that hold the same tensors at the last time that both know; replicas have parted by then."""
    for one, two in product(run, other):
        end = min(one.time_fs[-1], two.time_fs[-1])
        if _same_tensors(one, two, end, species, step_fs, 1e-5):
            raise InputError(f'{two.path}: holds frames of {one.path}, such as that at {end:g} fs; give each run once')


def _same_tensors(
    one: FileSegment, two: FileSegment, time_fs: float, species: str, step_fs: float, tolerance: float
) -> bool:
    """Test that two files hold a frame of one time, and in it tensors that agree within a share of the largest."""
    at = [int(np.searchsorted(segment.time_fs, time_fs + 0.5 * step_fs)) - 1 for segment in (one, two)]
    if min(at) < 0 or abs(one.time_fs[at[0]] - two.time_fs[at[1]]) > 1e-3 * step_fs:
        return False
    a, b = (segment.frame(number, species) for number, segment in zip(at, (one, two)))
    return bool(np.allclose(a, b, rtol=0.0, atol=tolerance * np.abs(a).max()))


def _without_start(run: list[FileSegment], skip_fs: float) -> tuple[FileSegment, ...]:
    begin = run[0].time_fs[0] + skip_fs - 1e-6
    segments = [segment.part(int(np.searchsorted(segment.time_fs, begin))) for segment in run]
    segments = [segment for segment in segments if len(segment.time_fs)]
    if sum(len(segment.time_fs) for segment in segments) < 2:
        raise InputError(f'{run[0].path}: fewer than 2 frames to analyse after the first {skip_fs / 1000:g} ps')
    return tuple(segments)
