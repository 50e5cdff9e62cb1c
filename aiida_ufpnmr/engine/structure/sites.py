"""Sites of ions by the number of anions around them: fourfold (LiS4) and sixfold (LiS6); Harper 2024, Fig. 4.

The number of neighbours is soft: an anion at distance r counts 1/(1 + exp((r − r₀)/w)), so that one that vibrates about
r₀ does not make the number jump. The number is averaged over a window, and an ion changes its site where the average
passes the boundary between four and six by a margin and stays there for a residence time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.settings import Settings, setting
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory, regular_frames

#: Sites by their number.
FOUR, SIX = 0, 1
#: Elements that surround cations.
ANIONS = frozenset(('N', 'O', 'F', 'S', 'Cl', 'Se', 'Br', 'Te', 'I'))
CHUNK_FRAMES = 512
#: Upper limit on what the averages of some ions take at a time.
BLOCK_BYTES = 256e6
#: Beyond this many widths an anion counts less than 0.1 %.
REACH = 7.0


@dataclass(frozen=True)
class AnionSettings(Settings):
    """Choice of the anions."""

    anion: str = setting('S', 'Element that surrounds the ions; several with commas between, such as S,Cl.')

    @property
    def anions(self) -> tuple[str, ...]:
        """Elements that surround the ions."""
        return tuple(self.anion.replace(' ', '').split(','))

    @property
    def shell(self) -> str:
        """Name of the anions in that of a site: S, or (S,Cl)."""
        return self.anion if len(self.anions) == 1 else f'({",".join(self.anions)})'


@dataclass(frozen=True)
class ShellSettings(AnionSettings):
    """Definition of the shell of anions around an ion, and of the time that counts as a stay in it."""

    radius_angstrom: float = setting(3.3, 'Distance in Å at which an anion counts one half.', above=0)
    width_angstrom: float = setting(0.1, 'Width of that soft edge in Å.', above=0)
    margin: float = setting(0.25, 'An ion changes its site where it is this far beyond the boundary.', least=0)
    window_ps: float = setting(0.5, 'Average the number of neighbours over this time, in ps.', least=0)
    residence_ps: float = setting(1.0, 'Shorter stays, in ps, do not count.', least=0)

    def in_frames(self, step_ps: float) -> tuple[int, int]:
        """Window and residence time in frames, at least one."""
        return max(1, round(self.window_ps / step_ps)), max(1, round(self.residence_ps / step_ps))


@dataclass(frozen=True)
class SiteSettings(ShellSettings):
    """Definition of a fourfold and a sixfold site."""

    boundary: float = setting(5.0, 'Number of neighbours between the fourfold and the sixfold site.', above=0)

    def names(self, species: str) -> tuple[str, str]:
        """Names of the two sites, such as LiS4 and LiS6, or Li(S,Cl)4 and Li(S,Cl)6."""
        return f'{species}{self.shell}4', f'{species}{self.shell}6'


@dataclass(frozen=True)
class Sites:
    """Sites of ions along a trajectory.

    Attributes:
        species, index: chemical symbol and atom indices of the ions.
        time_fs: (n_frames,) times.
        coordination: (n_frames, n_ions) soft number of neighbours, float32.
        site: (n_frames, n_ions) int8, ``FOUR`` or ``SIX``.
        settings: as given.
        not_counted: elements that are there, might surround the ions, and do not count.
    """

    species: str
    index: np.ndarray
    time_fs: np.ndarray
    coordination: np.ndarray
    site: np.ndarray
    settings: SiteSettings
    not_counted: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, str]:
        """Names of the sites, in the order of their numbers."""
        return self.settings.names(self.species)

    def at(self, time_fs: np.ndarray) -> np.ndarray:
        """Site at other times, (n_times, n_ions): that of the latest frame.

        Raises:
            InputError: times before the first frame, or more than a frame after the last.
        """
        return self.site[latest_frames(self.time_fs, time_fs)]

    def changes(self) -> int:
        """Number of changes of site."""
        return int((np.diff(self.site, axis=0) != 0).sum())


def latest_frames(own_fs: np.ndarray, time_fs: np.ndarray) -> np.ndarray:
    """The latest of the equally spaced frames at times ``own_fs`` at each of other times, (n_times,).

    Raises:
        InputError: times before the first frame, or more than a frame after the last.
    """
    step = own_fs[1] - own_fs[0]
    row = np.searchsorted(own_fs, np.asarray(time_fs) + 1e-3 * step, side='right') - 1
    if row.min() < 0 or time_fs[-1] > own_fs[-1] + step:
        raise InputError('EFG tensors at times for which there are no positions; give one trajectory with both')
    return row


def not_counted_line(counted: str, others: str) -> str:
    """A line about anions in a trajectory that no site counts.

    Args:
        counted, others: elements, with commas between.
    """
    return f'{others} around the ions is not counted; --anion {counted},{others} counts all.'


def find_sites(
    trajectory: Trajectory, species: str = 'Li', settings: SiteSettings = SiteSettings(), skip_fs: float = 0.0
) -> Sites:
    """Sites of all ions of ``species``.

    Raises:
        InputError: no positions, no such species or anion, too few frames, or frames not equally spaced.
    """
    if trajectory.n_frames == 0:
        raise InputError(f'{trajectory.path}: holds no positions; give the trajectory that "ufpnmr md" wrote')
    symbols = np.array(trajectory.symbols)
    for symbol, option in ((species, 'species'), *((anion, 'anion') for anion in settings.anions)):
        if symbol not in symbols:
            there = ', '.join(sorted(set(trajectory.symbols)))
            raise InputError(f'{trajectory.path}: holds no {symbol}, only {there}; choose one with --{option}')
    frames = regular_frames(trajectory.time_fs, skip_fs, trajectory.path)
    time_fs = trajectory.time_fs[frames]
    index, anions = np.flatnonzero(symbols == species), np.flatnonzero(np.isin(symbols, settings.anions))
    coordination = np.empty((len(time_fs), len(index)), np.float32)
    with progress(len(time_fs), 'coordination', 'frame') as bar:
        for start in range(frames.start, frames.stop, CHUNK_FRAMES):
            stop = min(start + CHUNK_FRAMES, frames.stop)
            coordination[start - frames.start : stop - frames.start] = soft_coordination(
                trajectory.positions(start, stop),
                trajectory.cells(start, stop),
                trajectory.pbc,
                index,
                anions,
                settings.radius_angstrom,
                settings.width_angstrom,
            )
            bar.update(stop - start)
    window, residence = settings.in_frames(float(time_fs[1] - time_fs[0]) * 1e-3)
    low, high = settings.boundary - settings.margin, settings.boundary + settings.margin
    site = np.empty(coordination.shape, np.int8)
    size = max(1, int(BLOCK_BYTES // (32 * len(time_fs))))
    for start in range(0, len(index), size):
        ions = slice(start, start + size)
        site[:, ions] = stays(running_mean(coordination[:, ions], window), low, high, residence)
    return Sites(
        species=species,
        index=index,
        time_fs=time_fs,
        coordination=coordination,
        site=site,
        settings=settings,
        not_counted=tuple(sorted(ANIONS & set(trajectory.symbols) - {species, *settings.anions})),
    )


def running_mean(x: np.ndarray, window: int) -> np.ndarray:
    """Mean (n_frames, n) over a window about each frame, cut off at the ends."""
    total = np.vstack([np.zeros((1, x.shape[1])), np.cumsum(x, axis=0, dtype=float)])
    frames = np.arange(len(x))
    begin, end = np.maximum(frames - window // 2, 0), np.minimum(frames + (window + 1) // 2, len(x))
    return (total[end] - total[begin]) / (end - begin)[:, None]


def soft_coordination(
    positions: np.ndarray, cells: np.ndarray, pbc, ions: np.ndarray, anions: np.ndarray, radius: float, width: float
) -> np.ndarray:
    """Soft number of anions around each ion, periodic images included, (n_frames, n_ions).

    Arguments and errors as in :func:`soft_coordination_by_kind`.
    """
    kind = np.zeros(len(anions), np.int64)
    return soft_coordination_by_kind(positions, cells, pbc, ions, anions, kind, radius, width)[..., 0]


def soft_coordination_by_kind(
    positions: np.ndarray,
    cells: np.ndarray,
    pbc,
    ions: np.ndarray,
    anions: np.ndarray,
    kind: np.ndarray,
    radius: float,
    width: float,
) -> np.ndarray:
    """Soft number of anions of each kind around each ion, periodic images included, (n_frames, n_ions, n_kinds).

    Args:
        positions: (n_frames, n_atoms, 3) in Å.
        cells: (n_frames, 3, 3) cell vectors in Å.
        pbc: (3,) which directions are periodic.
        ions, anions: atom indices.
        kind: (n_anions,) number of the kind of each anion.
        radius, width: of the soft edge, Å.

    Raises:
        InputError: a position that is not finite.
    """
    if not np.isfinite(positions).all():
        raise InputError('a position is NaN or infinite; remake the trajectory')
    inverse = np.linalg.inv(cells)
    periodic = np.asarray(pbc, bool)
    # images that may lie within reach of an anion that is within half a cell
    heights = 1 / np.linalg.norm(inverse, axis=1)
    images = np.where(periodic, np.floor((radius + REACH * width) / heights + 0.5), 0).astype(np.int64).max(axis=0)
    return _soft_coordination(
        np.ascontiguousarray(positions[:, ions], float),
        np.ascontiguousarray(positions[:, anions], float),
        np.ascontiguousarray(cells, float),
        inverse,
        periodic,
        images,
        np.asarray(kind, np.int64),
        int(kind.max()) + 1,
        radius,
        width,
    )


@njit()
def _soft_coordination(ions, anions, cells, inverse, periodic, images, kind, n_kinds, radius, width):
    n_frames, n_ions = ions.shape[:2]
    out = np.zeros((n_frames, n_ions, n_kinds))
    furthest = (radius + REACH * width) ** 2
    d, s = np.empty(3), np.empty(3)
    for f in range(n_frames):
        cell, back = cells[f], inverse[f]
        for i in range(n_ions):
            for j in range(anions.shape[1]):
                for x in range(3):
                    d[x] = anions[f, j, x] - ions[f, i, x]
                for a in range(3):
                    s[a] = d[0] * back[0, a] + d[1] * back[1, a] + d[2] * back[2, a]
                    if periodic[a]:
                        s[a] -= np.round(s[a])
                for p in range(-images[0], images[0] + 1):
                    for q in range(-images[1], images[1] + 1):
                        for r in range(-images[2], images[2] + 1):
                            square = 0.0
                            for x in range(3):
                                component = (s[0] + p) * cell[0, x] + (s[1] + q) * cell[1, x] + (s[2] + r) * cell[2, x]
                                square += component * component
                            if square < furthest:
                                out[f, i, kind[j]] += 1.0 / (1.0 + np.exp((np.sqrt(square) - radius) / width))
    return out


@njit()
def stays(coordination, low, high, residence):
    """Site of each ion in each frame, (n_frames, n_ions) int8.

    An ion is at ``SIX`` after its coordination rose above ``high``, at ``FOUR`` after it fell below ``low``, and at the
    start at the nearer one. Stays shorter than ``residence`` frames belong to the one before, at the start to the next.
    """
    n_frames, n_ions = coordination.shape
    site = np.empty((n_frames, n_ions), np.int8)
    for i in range(n_ions):
        now = SIX if coordination[0, i] > 0.5 * (low + high) else FOUR
        for f in range(n_frames):
            if coordination[f, i] > high:
                now = SIX
            elif coordination[f, i] < low:
                now = FOUR
            site[f, i] = now
        join_short_stays(site[:, i], residence)
    return site


@njit()
def join_short_stays(site, residence):
    """Give stays of fewer than ``residence`` frames to the one before, at the start to the next, in (n_frames,)."""
    n_frames = len(site)
    begin, settled = 0, False
    for f in range(1, n_frames + 1):
        if f < n_frames and site[f] == site[begin]:
            continue
        if f - begin < residence and f < n_frames and not settled:
            site[begin:f] = site[f]  # the start joins what follows, as does its beginning
            continue
        if f - begin < residence and settled:
            site[begin:f] = site[begin - 1]
        settled = True
        begin = f
