"""Rearrangements of ions along a trajectory, and which ions are mobile and which are not.

D²_min is taken over one lag after the other and added up over a window: Chen 2023 calls the sum D_cum and takes it for
the mobility of an ion that has the structure of the beginning of the window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from ase.data import atomic_masses, chemical_symbols

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.settings import setting
from aiida_ufpnmr.engine.softness.hop_indicator import FEWEST_FRAMES, HopIndicator
from aiida_ufpnmr.engine.softness.nonaffine import NonaffineSteps
from aiida_ufpnmr.engine.trajectories.snapshots import Snapshots, SnapshotSettings

#: Labels of ions.
MOBILE, UNDECIDED, IMMOBILE = 1, 0, -1


def elements(value: str) -> str:
    """Chemical symbols with commas between, or ``all``, without spaces; :class:`ValueError` for anything else."""
    text = str(value).replace(' ', '')
    unknown = [symbol for symbol in text.split(',') if symbol not in chemical_symbols[1:]]
    if text != 'all' and unknown:
        raise ValueError(f'{unknown[0]!r} is no element; give symbols such as P,S, or "all"')
    return text


@dataclass(frozen=True)
class LabelSettings(SnapshotSettings):
    """Definition of a rearrangement, and of mobile and immobile ions."""

    species: str = setting('Li', 'Element of the ions.')
    cutoff_angstrom: float = setting(
        5.0, 'Atoms nearer to an ion than this, in Å, at the beginning of a lag are its neighbourhood.', above=0
    )
    neighbourhood: str = setting(
        'all', 'Elements that count in it, such as P,S for the framework; or "all".', parse=elements, metavar='X,...'
    )
    lag_ps: float = setting(1.0, 'Time in ps over which each D²_min is taken; at least one frame.', above=0)
    window_ps: float = setting(10.0, 'Time in ps over which D²_min is added up and hops are looked for.', above=0)
    hop_window_ps: float = setting(
        2.0, 'Time in ps of the hop indicator, half before and half after (at least three frames each).', above=0
    )
    rule: Literal['share', 'hop'] = setting(
        'share',
        'Mobile and immobile ions are those with the largest and smallest sum of D²_min, or those whose hop indicator '
        'passes a threshold and those where it stays below another.',
    )
    mobile_share: float = setting(0.25, 'Share of the ions and windows that are mobile.', above=0, most=1)
    immobile_share: float = setting(0.25, 'Share of them that are immobile.', above=0, most=1)
    hop_angstrom2: float = setting(2.25, 'An ion whose hop indicator is above this, in Å², rearranges.', above=0)
    rest_angstrom2: float = setting(1.0, 'One whose hop indicator stays below this, in Å², rests.', above=0)

    def __post_init__(self):
        super().__post_init__()
        if self.mobile_share + self.immobile_share > 1:
            raise InputError('mobile_share and immobile_share are more than 1 together')
        if self.rest_angstrom2 > self.hop_angstrom2:
            raise InputError('rest_angstrom2 is above hop_angstrom2; an ion cannot rest and rearrange')


@dataclass(frozen=True)
class Rearrangements:
    """Rearrangements of ions along a trajectory.

    Attributes:
        ions: (n_ions,) indices of the atoms.
        step_ps: time between frames; lag, window: in frames, a window holds whole lags.
        d2_min: (n_lags, n_ions) D²_min of each lag in Å².
        hop_indicator: (n_lags, n_ions) largest p_hop within each lag in Å²; NaN at the ends of the trajectory.
        mean_neighbours: mean number of neighbours of an ion.
        settings: as given.
    """

    ions: np.ndarray
    step_ps: float
    lag: int
    window: int
    d2_min: np.ndarray
    hop_indicator: np.ndarray
    mean_neighbours: float
    settings: LabelSettings

    @property
    def n_windows(self) -> int:
        """Number of whole windows."""
        return len(self.d2_min) * self.lag // self.window

    def _by_window(self, values: np.ndarray) -> np.ndarray:
        lags = self.window // self.lag
        return values[: self.n_windows * lags].reshape(self.n_windows, lags, -1)

    @property
    def window_d2_min(self) -> np.ndarray:
        """(n_windows, n_ions) D²_min added up over each window, Å²."""
        return self._by_window(self.d2_min).sum(axis=1)

    @property
    def window_hop_indicator(self) -> np.ndarray:
        """(n_windows, n_ions) largest p_hop at a time within each window, Å²; NaN where no lag has any."""
        return np.fmax.reduce(self._by_window(self.hop_indicator), axis=1)

    def rearranged(self) -> np.ndarray:
        """(n_windows, n_ions) booleans, whether the hop indicator passes its threshold within each window."""
        return self.window_hop_indicator > self.settings.hop_angstrom2

    def limits_angstrom2(self) -> tuple[float, float]:
        """The value below which an ion is immobile and the one above which it is mobile, of D²_min sums or p_hop."""
        if self.settings.rule == 'hop':
            return self.settings.rest_angstrom2, self.settings.hop_angstrom2
        low, high = np.quantile(self.window_d2_min, [self.settings.immobile_share, 1 - self.settings.mobile_share])
        return float(low), float(high)

    def labels(self) -> np.ndarray:
        """(n_windows, n_ions) int8: ``MOBILE``, ``IMMOBILE`` or ``UNDECIDED`` within each window."""
        low, high = self.limits_angstrom2()
        if self.settings.rule == 'hop':
            mobility = self.window_hop_indicator
            mobile, immobile = mobility > high, mobility < low
        else:
            mobility = self.window_d2_min
            mobile, immobile = mobility >= high, mobility <= low
        return np.where(mobile == immobile, UNDECIDED, np.where(mobile, MOBILE, IMMOBILE)).astype(np.int8)


def find_rearrangements(snapshots: Snapshots, settings: LabelSettings = LabelSettings()) -> Rearrangements:
    """D²_min and p_hop of all ions of a species; frames are read once, some at a time.

    Raises:
        InputError: frames not equally spaced, no such element, less time than a window, or an ion with too few
            neighbours.
    """
    snapshots = snapshots.at_regular_times()
    ions, symbols = snapshots.chosen(settings.species, 'species'), snapshots.symbols
    everyone = settings.neighbourhood == 'all'
    counts = np.ones(len(symbols), bool) if everyone else np.isin(symbols, settings.neighbourhood.split(','))
    lag = max(1, round(settings.lag_ps / snapshots.step_ps))
    window = lag * max(1, round(settings.window_ps / snapshots.step_ps / lag))
    n_lags = (len(snapshots.frames) - 1) // lag
    if n_lags * lag < window:
        raise InputError(
            f'{snapshots.length_ps:g} ps are less than a window of {window * snapshots.step_ps:g} ps; '
            'shorten --window-ps, or give a longer trajectory'
        )
    half = max(FEWEST_FRAMES, round(settings.hop_window_ps / snapshots.step_ps / 2))
    steps = NonaffineSteps(ions, counts, snapshots.atoms.pbc, settings.cutoff_angstrom, lag)
    hops = HopIndicator(len(ions), half, lag, n_lags)
    framework = symbols != settings.species
    masses = atomic_masses[snapshots.atoms.numbers] * (framework if framework.any() else 0.0)
    for positions, cells in snapshots.parts():
        steps.add(positions, cells)
        drift = np.einsum('fax,a->fx', positions, masses) / (masses.sum() or 1.0)
        hops.add(positions[:, ions] - drift[:, None])
    return Rearrangements(
        ions=ions,
        step_ps=snapshots.step_ps,
        lag=lag,
        window=window,
        d2_min=steps.squares(),
        hop_indicator=hops.largest,
        mean_neighbours=float(steps.neighbours.mean() / n_lags),
        settings=settings,
    )
