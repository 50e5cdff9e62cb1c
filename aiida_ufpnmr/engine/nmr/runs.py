"""EFG tensors of one or several runs, read a block of ions at a time, so that memory does not grow with them.

Files whose times go on where those of the file before end are one run (a restart), as are parts of a run that say from
which step they go on: what a part holds beyond that step was made again, and counts once. Any other file is a run of
its own (a replica). Averages are taken over all runs; no pair of times spans two of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from aiida_ufpnmr.engine.efg.isotopes import Isotope
from aiida_ufpnmr.engine.efg.tensors import KHZ_PER_MB_AU, to_irreps
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.nmr.principal import coupling_and_asymmetry
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.trajectories.trajectory import EfgSeries, Trajectory, efg_group, regular_frames
from aiida_ufpnmr.engine.trajectories.writer import follows_step

#: Upper limit on the series held at a time; each block reads, and unpacks, the files once.
BLOCK_BYTES = 1.5e9
#: Tensors that are read at a time.
CHUNK_BYTES = 64e6
#: Rows of a block: five components, then |C_Q|.
COMPONENTS, COUPLING = slice(0, 5), 5


@dataclass(frozen=True)
class Segment:
    """Consecutive frames of one file, or of an array.

    Attributes:
        time_fs: (n_frames,) their times.
        path, frames: the file and its frames; or
        tensors: (n_frames, n_ions, 3, 3).
    """

    time_fs: np.ndarray
    path: Path | None = None
    frames: slice | None = None
    tensors: np.ndarray | None = None

    def part(self, first: int, stop: int | None = None) -> Segment:
        """Some of the frames."""
        frames = range(self.frames.start, self.frames.stop)[first:stop]
        return replace(self, time_fs=self.time_fs[first:stop], frames=slice(frames.start, frames.stop))

    def tensor_at(self, time_fs: float, species: str) -> np.ndarray:
        """The tensors (n_ions, 3, 3) of the last frame up to a time."""
        frame = self.frames.start + int(np.searchsorted(self.time_fs, time_fs + 1e-3, side='right')) - 1
        with Trajectory(self.path) as source:
            return source.series(f'{efg_group(species)}/efg')['value'][frame]

    def chunks(self, species: str) -> Iterator[np.ndarray]:
        """The tensors, some frames at a time; :class:`InputError` where one is not finite."""
        if self.path is None:
            yield self.tensors
            return
        with Trajectory(self.path) as source:
            value = source.series(f'{efg_group(species)}/efg')['value']
            size = max(1, int(CHUNK_BYTES // (36 * value.shape[1])))
            for start in range(self.frames.start, self.frames.stop, size):
                part = value[start : min(start + size, self.frames.stop)]
                if not np.isfinite(part).all():
                    frame = start + int(np.flatnonzero(~np.isfinite(part).all(axis=(1, 2, 3)))[0])
                    raise InputError(f'{self.path}, frame {frame}: EFG is NaN or infinite; remake the trajectory')
                yield part


@dataclass
class IonBlock:
    """Series of some ions.

    Attributes:
        ions: which.
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
        regular_frames(series.time_fs, 0.0, 'EFG series')
        gaps = np.diff(series.time_fs)
        if not np.allclose(gaps, gaps[0], rtol=1e-6):
            raise InputError('EFG series: frames are not equally spaced in time, which correlation needs')
        if not np.isfinite(series.tensors).all():
            frame = int(np.flatnonzero(~np.isfinite(series.tensors).all(axis=(1, 2, 3)))[0])
            raise InputError(f'EFG series, frame {frame}: a tensor is NaN or infinite')
        segment = Segment(series.time_fs, tensors=series.tensors)
        return cls(series.species, series.index, series.timestep_fs * 1e-3, ((segment,),))

    @classmethod
    def open(cls, paths: Sequence[Path], species: str | None = None, skip_fs: float = 0.0) -> EfgRuns:
        """Runs in files; ``skip_fs`` is left out at the beginning of each run.

        Raises:
            InputError: no EFG tensors, several species and none named, other ions or another time between frames than
                in the first file, frames not equally spaced, too few, the same frames in two files, or a file that
                begins within the time of another one without going on from it.
        """
        found: list[list[Segment]] = []
        index, step_fs = None, np.nan
        for path in paths:
            with Trajectory(path) as source:
                species = source.one_efg_species(species)
                group = source.series(efg_group(species))
                if 'efg' not in group:
                    raise InputError(f'{path}: holds no frame with EFG tensors')
                time_fs, step, there = group['efg/time'][...], group['efg/step'][...], group['id'][...]
            frames = regular_frames(time_fs, 0.0, path)
            time_fs = time_fs[frames]
            if index is None:
                index, step_fs = there, float(time_fs[1] - time_fs[0])
            if not np.array_equal(there, index):
                raise InputError(f'{path}: its {species} ions are not those of {paths[0]}; give runs of one structure')
            if not np.isclose(time_fs[1] - time_fs[0], step_fs, rtol=1e-6):
                spacing = time_fs[1] - time_fs[0]
                raise InputError(f'{path}: has a frame every {spacing:g} fs, {paths[0]} every {step_fs:g} fs')
            follows = follows_step(path)
            if follows is not None and found:
                # the time of that step, by the clock of this file
                per_step = (time_fs[1] - time_fs[0]) / (step[frames][1] - step[frames][0])
                end_fs = time_fs[0] - (step[frames][0] - follows) * per_step
                found[-1] = _until(found[-1], end_fs)
            last = found[-1][-1].time_fs[-1] if found else np.inf
            goes_on = time_fs[0] > 0.5 * step_fs and abs(time_fs[0] - last) < 1.001 * step_fs and time_fs[-1] > last
            if goes_on:
                first = frames.start + int(np.searchsorted(time_fs, last + 0.5 * step_fs))
                time_fs = time_fs[first - frames.start :]
                if abs(time_fs[0] - last - step_fs) > 1e-3 * step_fs:
                    raise InputError(f'{path}: goes on from the file before it, but not in step; frames are missing')
                found[-1].append(Segment(time_fs, path, slice(first, frames.stop)))
            else:
                found.append([Segment(time_fs, path, frames)])
        for i, run in enumerate(found):
            for other in found[:i]:
                _refuse_overlap(other, run, species)
        return cls(species, index, step_fs * 1e-3, tuple(_without_start(run, skip_fs) for run in found))

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
                for run, length in zip(self.runs, self.lengths):
                    out = np.empty((block.ions.stop - start, 6, length), dtype)
                    frame = 0
                    for segment in run:
                        for part in segment.chunks(self.species):
                            tensors = np.asarray(part[:, block.ions], float)
                            rows = slice(frame, frame + len(tensors))
                            out[:, COMPONENTS, rows] = khz * np.moveaxis(to_irreps(tensors), 0, -1)
                            coupling, eta = coupling_and_asymmetry(tensors)
                            out[:, COUPLING, rows] = abs(khz) * coupling.T
                            block.eta_sum += float(np.nansum(eta))
                            block.eta_count += int(np.isfinite(eta).sum())
                            frame += len(tensors)
                            bar.update(len(tensors))
                    block.series.append(out)
                yield block


def _until(run: list[Segment], end_fs: float) -> list[Segment]:
    """A run without what lies after a time, unless it only begins there."""
    if end_fs < run[0].time_fs[0]:
        return run
    counts = [int(np.searchsorted(segment.time_fs, end_fs + 1e-3, side='right')) for segment in run]
    return [segment.part(0, count) for segment, count in zip(run, counts) if count]


def _refuse_overlap(one: Sequence[Segment], other: Sequence[Segment], species: str) -> None:
    """Refuse two runs that are pieces of one: of the same frames, or the later beginning within the earlier."""
    for a in one:
        for b in other:
            begin, end = max(a.time_fs[0], b.time_fs[0]), min(a.time_fs[-1], b.time_fs[-1])
            if begin > end:
                continue
            # replicas may begin alike, but do not stay so
            same = all(
                np.array_equal(a.tensor_at(t, species), b.tensor_at(t, species)) for t in (0.5 * (begin + end), end)
            )
            if same or abs(one[0].time_fs[0] - other[0].time_fs[0]) > 0.5 * (a.time_fs[1] - a.time_fs[0]):
                words = 'hold the same frames' if same else 'overlap in time'
                raise InputError(
                    f'{a.path} and {b.path} {words}; give each run once, and its parts in order, the later ones as '
                    '"ufpnmr md" makes them from a checkpoint'
                )


def _without_start(run: Sequence[Segment], skip_fs: float) -> tuple[Segment, ...]:
    firsts = [int(np.searchsorted(segment.time_fs, run[0].time_fs[0] + skip_fs - 1e-6)) for segment in run]
    kept = [segment.part(first) for segment, first in zip(run, firsts) if first < len(segment.time_fs)]
    if sum(len(segment.time_fs) for segment in kept) < 2:
        raise InputError(f'{run[0].path}: fewer than 2 frames to analyse after the first {skip_fs / 1000:g} ps')
    return tuple(kept)
