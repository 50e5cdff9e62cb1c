"""Hops of single ions, found in their displacement; Harper 2024, Fig. 2 right.

An ion sits at an anchor: the running mean of where it has been. When its position, averaged over a window, is farther
from the anchor than a threshold, and so is its mean position over the residence time that follows, it has hopped, and
the new place becomes the anchor. Vibrations and noise average out within the window, excursions within the residence
time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.records import Record, quantity
from aiida_ufpnmr.engine.settings import Settings, setting
from aiida_ufpnmr.engine.timeseries.distributions import chi_squared_quantile, student_factor
from aiida_ufpnmr.engine.timeseries.sums import poisson_limits

#: A window or residence of fewer frames averages nothing.
FEWEST_FRAMES = 3
#: The anchor remembers this many residence times.
MEMORY = 20
#: Relative error of the dead time, from two-site processes with known rate.
DEAD_TIME_ERROR = 0.25
#: Into so many parts of time the hops are sorted to see whether they come in bursts.
TIME_PARTS = (8, 16, 32)
#: Excursions of rattling ions that chance would take for hops, as a share of the hops, that is let pass.
MOST_BY_CHANCE = 0.1
HOPS = 'hops'
NO_HOPS = 'no hop within the trajectory'
RATTLING = 'not told apart from rattling: the threshold is within its reach'
#: Fewer ions than this say nothing about how much ions differ.
FEWEST_IONS = 8


@dataclass(frozen=True)
class HopSettings(Settings):
    """Definition of a hop."""

    window_ps: float = setting(0.5, 'Average positions over this time, in ps (at least three frames).', above=0)
    threshold_angstrom: float = setting(
        1.5, 'An ion farther than this from where it sat, in Å, may have hopped.', above=0
    )
    residence_ps: float = setting(
        1.0,
        'It has if its mean position over this time, in ps, is beyond the threshold, too (at least three frames).',
        above=0,
    )


@dataclass(frozen=True)
class Events:
    """Events of single ions along a trajectory, sorted by ion, then time.

    Attributes:
        ion: (n_events,) position in the list of ions.
        frame: (n_events,) frame in which it happened.
        n_ions, n_frames, step_ps: of the trajectory.
    """

    ion: np.ndarray
    frame: np.ndarray
    n_ions: int
    n_frames: int
    step_ps: float

    @property
    def time_ps(self) -> np.ndarray:
        """(n_events,) times after the first frame."""
        return self.frame * self.step_ps


@dataclass(frozen=True)
class Hops(Events):
    """Hops; their frame is the one in which the threshold was passed.

    Attributes:
        origin, target: (n_hops, 3) anchors before and after, Å.
        window, residence: in frames, as used.
        by_chance: hops expected of ions that rattle as these do between their hops, and never leave.
        settings: as given.
    """

    origin: np.ndarray
    target: np.ndarray
    window: int
    residence: int
    by_chance: float
    settings: HopSettings

    @property
    def distance(self) -> np.ndarray:
        """(n_hops,) lengths of the hops, Å."""
        return np.linalg.norm(self.target - self.origin, axis=1)


@dataclass(frozen=True)
class HopRate(Record):
    """Hops per ion and second."""

    hop_rate_per_s: float = quantity('1/s', 'hops per ion and second, corrected for missed stays', default=np.nan)
    hop_rate_per_s_ci95: tuple[float, float] = quantity('1/s', 'its 95 % interval', default=(np.nan, np.nan))
    hop_rate_counted_per_s: float = quantity('1/s', 'as counted', default=np.nan)
    hop_rate_corrected: bool = quantity(
        '', 'whether the correction could be made; if not, the rate is a lower limit', default=False
    )
    dead_time_ps: float = quantity('ps', 'shorter stays are not seen', default=np.nan)
    return_fraction: float = quantity('', 'share of hops that lead back to where the one before began', default=np.nan)
    successive_hop_cosine: float = quantity(
        '', 'mean cosine of the angle to the next hop: −1 to and fro, 0 without memory', default=np.nan
    )
    hop_dispersion: float = quantity('', 'width of the interval over that of a Poisson count', default=np.nan)
    hops_by_chance: float = quantity('', 'hops that rattling alone would seem to make', default=np.nan)
    verdict: str = quantity('', 'hops, or what speaks against them: then the interval begins at zero', default='')


@njit()
def _find_hops(path, window, threshold, residence, memory, anchor, weight, t, rattling):
    """Frames of the hops of one ion, and the anchors before and after each. path: (n_frames, 3).

    Goes on from frame ``t`` with an ``anchor`` of so much ``weight``, none where that is zero, and returns where
    another call with more frames has to go on: frame and weight; ``anchor`` is changed in place. To ``rattling`` are
    added the squared distances from the anchor within the threshold, and their number.
    """
    n_frames = len(path)
    frames = np.empty(n_frames // residence + 1, np.int64)
    anchors = np.empty((n_frames // residence + 1, 2, 3))
    count = 0
    mean = np.zeros(3)  # of path[t : t + window]
    if t + window <= n_frames:
        for s in range(t, t + window):
            mean += path[s] / window
    if weight == 0:
        start = min(residence, n_frames)
        anchor[:] = 0.0
        for s in range(start):
            anchor += path[s] / start
        weight = start
    while t + window + residence <= n_frames:
        distance = 0.0
        for x in range(3):
            distance += (mean[x] - anchor[x]) ** 2
        step = 1
        if distance > threshold**2:
            place = np.zeros(3)
            middle = t + window // 2
            for s in range(middle, middle + residence):
                place += path[s] / residence
            away = 0.0
            for x in range(3):
                away += (place[x] - anchor[x]) ** 2
            if away > threshold**2:
                frames[count] = middle
                anchors[count, 0] = anchor
                anchors[count, 1] = place
                count += 1
                anchor[:] = place
                weight = residence
                step = residence
        else:
            rattling[0] += distance
            rattling[1] += 1
            weight = min(weight + 1, memory * residence)
            anchor += (mean - anchor) / weight
        if step == 1:
            if t + window < n_frames:
                mean += (path[t + window] - path[t]) / window
            t += 1
        else:
            t += step
            mean[:] = 0.0
            if t + window <= n_frames:
                for s in range(t, t + window):
                    mean += path[s] / window
    return frames[:count], anchors[:count], t, weight


class HopFinder:
    """Finds hops in positions that come some frames at a time; keeps no more of them than it needs.

    Args:
        n_ions: number of ions.
        step_ps: time between frames.
        settings: window, threshold and residence time; window and residence hold at least three frames.
    """

    def __init__(self, n_ions: int, step_ps: float, settings: HopSettings = HopSettings()):
        self.n_ions, self.step_ps, self.settings = n_ions, step_ps, settings
        self.window = max(FEWEST_FRAMES, int(round(settings.window_ps / step_ps)))
        self.residence = max(FEWEST_FRAMES, int(round(settings.residence_ps / step_ps)))
        self.n_frames = 0
        self._kept = np.empty((0, n_ions, 3))
        self._anchor, self._weight, self._next = np.zeros((n_ions, 3)), np.zeros(n_ions, int), np.zeros(n_ions, int)
        self._rattling = np.zeros((n_ions, 2))
        self._found: list[tuple[list[np.ndarray], list[np.ndarray]]] = [([], []) for _ in range(n_ions)]

    def add(self, positions: np.ndarray) -> None:
        """Take the next frames, (frames, n_ions, 3), unwrapped, Å, free of drift."""
        first = self.n_frames - len(self._kept)
        path = np.concatenate([self._kept, positions]) if len(self._kept) else positions
        self.n_frames += len(positions)
        needed = self.window + self.residence
        if len(path) >= needed:
            for ion, (frames, anchors) in enumerate(self._found):
                hops, places, frame, self._weight[ion] = _find_hops(
                    np.ascontiguousarray(path[:, ion], float),
                    self.window,
                    self.settings.threshold_angstrom,
                    self.residence,
                    MEMORY,
                    self._anchor[ion],
                    int(self._weight[ion]),
                    int(self._next[ion]) - first,
                    self._rattling[ion],
                )
                self._next[ion] = frame + first
                frames.append(hops + first)
                anchors.append(places)
            # the search of each ion has come at least as far as this
            path = path[len(path) - needed :]
        self._kept = path.copy()

    def hops(self) -> Hops:
        """All hops of the frames so far.

        Raises:
            InputError: they are fewer than twice the window and residence time together.
        """
        needed = 2 * (self.window + self.residence)
        if self.n_frames < needed:
            raise InputError(f'{self.n_frames} frames; window and residence time need at least {needed}; shorten them')
        ions = [np.full(sum(map(len, frames)), ion) for ion, (frames, _) in enumerate(self._found)]
        places = np.concatenate([part for _, anchors in self._found for part in anchors])
        squares, count = self._rattling.T
        width = np.maximum(squares / np.maximum(count, 1) / 3, 1e-12)  # variance along each axis
        beyond = chdtrc(3, self.settings.threshold_angstrom**2 / width)
        return Hops(
            ion=np.concatenate(ions),
            frame=np.concatenate([part for frames, _ in self._found for part in frames]),
            origin=places[:, 0],
            target=places[:, 1],
            n_ions=self.n_ions,
            n_frames=self.n_frames,
            step_ps=self.step_ps,
            window=self.window,
            residence=self.residence,
            by_chance=float(beyond.sum() * self.n_frames / self.window),
            settings=self.settings,
        )


def find_hops(positions: np.ndarray, step_ps: float, settings: HopSettings = HopSettings()) -> Hops:
    """Hops of every ion; time grows linearly with the number of frames.

    Args:
        positions: (n_frames, n_ions, 3) unwrapped, Å, free of drift.
        step_ps: time between frames.
        settings: window, threshold and residence time; window and residence hold at least three frames.

    Raises:
        InputError: the trajectory is shorter than twice the window and residence time together.
    """
    finder = HopFinder(positions.shape[1], step_ps, settings)
    finder.add(positions)
    return finder.hops()


def return_fraction(hops: Hops) -> float:
    """Share of hops, among those with one before, that end within the threshold of where that one began."""
    follows = hops.ion[1:] == hops.ion[:-1]
    if not follows.any():
        return 1.0
    back = np.linalg.norm(hops.target[1:] - hops.origin[:-1], axis=1) < hops.settings.threshold_angstrom
    return float(back[follows].mean())


def successive_cosine(hops: Hops) -> float:
    """Mean cosine of the angle between successive hops of one ion; NaN where no ion hops twice."""
    follows = hops.ion[1:] == hops.ion[:-1]
    if not follows.any():
        return np.nan
    steps = hops.target - hops.origin
    steps /= np.linalg.norm(steps, axis=1)[:, None]
    return float((steps[1:] * steps[:-1]).sum(axis=1)[follows].mean())


def dispersion(hops: Events) -> float:
    """Half width of a 95 % interval of the count, in units of that of a Poisson process; never below 1.

    Ions that slide together, a rearrangement that opens a path for a while, or a few ions that flicker make hops come
    in bursts. So hops are counted in parts of the time, of several lengths, and by ion. For independent hops each count
    has a variance as large as its mean. The largest ratio of the two, with Student's factor for the number of counts,
    sets the width. What is slower than the trajectory leaves no trace in it and is not seen.
    """
    widest = 1.0
    if not len(hops.frame):
        return widest
    counts = [np.bincount(hops.frame * parts // hops.n_frames, minlength=parts) for parts in TIME_PARTS]
    if hops.n_ions >= FEWEST_IONS:
        counts.append(np.bincount(hops.ion, minlength=hops.n_ions))
    for count in counts:
        ratio = count.var(ddof=1) / count.mean()
        # the ratio of a Poisson process varies, too; only what it would exceed in one case out of forty is a burst
        if ratio > chi_squared_quantile(0.975, len(count) - 1) / (len(count) - 1):
            widest = max(widest, np.sqrt(ratio) * student_factor(len(count) - 1) / 1.96)
    return float(widest)


def hop_rate(hops: Hops) -> HopRate:
    """Hops per ion and second, with a 95 % interval.

    The interval is the exact one of a Poisson count (Garwood 1936) of as many independent events as the hops are worth:
    bursts of hops count as one event, see :func:`dispersion`.

    A stay shorter than the dead time r is missed. If hops come at random with rate k, and a share q of them leads
    back, then k e^(−kr) / (1 + q (1 − e^(−kr))) are counted: stays survive with e^(−kr), and a hop out and back again
    leaves no trace. This is solved for k; the dead time is known to a quarter of itself, which widens the interval.
    With the rate k of a Poisson process and a noise of 0.3 Å the result is within 5 % of k as long as k times the
    residence time is below 0.2.

    Where the ions, as they rattle about their anchors, would pass the threshold a tenth as often as hops were found,
    the verdict says so: no hop is certain.
    """
    exposure_s = hops.n_ions * hops.n_frames * hops.step_ps * 1e-12
    count = len(hops.frame)
    burst = dispersion(hops)
    events = count / burst**2
    low, high = (burst**2 * limit for limit in poisson_limits(events))
    counted, lower, upper = count / exposure_s, low / exposure_s, high / exposure_s
    back = return_fraction(hops)
    length = float(np.median(hops.distance)) if count else 2 * hops.settings.threshold_angstrom
    share = min(hops.settings.threshold_angstrom / length, 1.0)
    # the mean over the residence time passes the threshold if this share of it was spent away
    dead_s = share * max(hops.residence, hops.window) * hops.step_ps * 1e-12
    rates = [
        _true_rate(counted, dead_s, back),
        _true_rate(lower, (1 - DEAD_TIME_ERROR) * dead_s, back),
        _true_rate(upper, (1 + DEAD_TIME_ERROR) * dead_s, back),
    ]
    corrected = all(np.isfinite(rates))
    rate, lower, upper = rates if corrected else (counted, lower, upper)
    verdict = HOPS if hops.by_chance < MOST_BY_CHANCE * count else RATTLING if count else NO_HOPS
    return HopRate(
        hop_rate_per_s=rate,
        hop_rate_per_s_ci95=(lower if verdict == HOPS else 0.0, upper),
        hop_rate_counted_per_s=counted,
        hop_rate_corrected=corrected,
        dead_time_ps=dead_s * 1e12,
        return_fraction=back,
        successive_hop_cosine=successive_cosine(hops),
        hop_dispersion=burst,
        hops_by_chance=hops.by_chance,
        verdict=verdict,
    )


def _true_rate(counted: float, dead: float, back: float) -> float:
    """Solve for the rate; NaN where more was counted than any rate would give."""

    def excess(rate):
        survive = np.exp(-rate * dead)
        return rate * survive / (1 + back * (1 - survive)) - counted

    if counted == 0:
        return 0.0
    from scipy.optimize import brentq  # takes a while to import

    most = 0.5 / dead  # counts rise with the rate up to here
    return brentq(excess, counted, most) if excess(most) > 0 and most > counted else np.nan
