"""Change of the EFG tensor at hops: its mean over a window before a hop, and after.

Means over two windows in one stay, as far apart as those before and after a hop, show what vibrations, noise of the
model and the slow motion of the surroundings do without a hop. What hops do beyond that is their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import beta

from aiida_ufpnmr.engine.efg.isotopes import Isotope
from aiida_ufpnmr.engine.efg.tensors import from_irreps, to_irreps
from aiida_ufpnmr.engine.nmr.principal import coupling_and_asymmetry
from aiida_ufpnmr.engine.nmr.runs import COMPONENTS, POWDER, EfgRuns
from aiida_ufpnmr.engine.records import Record, quantity
from aiida_ufpnmr.engine.timeseries.sums import FEWEST_IONS, PARTS, error_of, influence, units_worth

#: Share of the pairs of windows without a hop whose change is taken for one.
FALSE_ALARMS = 0.05
#: Fewer pairs of windows without a hop than this do not show what passes without one.
FEWEST_CONTROLS = 100
#: Hops are silent where each destroys at most this share of the correlation.
MOST_LOSS = 0.2

SEEN = 'hops change the frequency'
SILENT = 'silent: hops change the frequency no more than vibration and noise do'
UNCLEAR = 'not decided: too few hops with a stay on both sides, or too much vibration and noise'
NO_CONTROLS = 'not decided: stays too short to show what vibration and noise do'


@dataclass(frozen=True)
class WindowPairs:
    """Mean tensors over pairs of windows, in five components of ω_Q.

    Attributes:
        first, second: (n, 5) in kHz.
        unit: (n,) number of the unit, an ion of a run or a part of its time, that is taken as independent of others.
        hop: (n,) position of the hop between the windows among all that were given; -1 for windows in one stay.
    """

    first: np.ndarray
    second: np.ndarray
    unit: np.ndarray
    hop: np.ndarray

    @classmethod
    def join(cls, parts: Sequence[WindowPairs]) -> WindowPairs:
        """All of several."""
        return cls(*(np.concatenate([getattr(one, name) for one in parts]) for name in cls.__dataclass_fields__))

    def take(self, chosen: np.ndarray) -> WindowPairs:
        """Some of them."""
        return WindowPairs(self.first[chosen], self.second[chosen], self.unit[chosen], self.hop[chosen])

    def coupling(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """|C_Q| in kHz and η before, then after, (n,) each, of the mean tensors."""
        before, after = (coupling_and_asymmetry(from_irreps(x)) for x in (self.first, self.second))
        return *before, *after


@dataclass(frozen=True)
class HopWindows:
    """Pairs of windows on both sides of hops, and in stays without one."""

    hops: WindowPairs
    stays: WindowPairs


def hop_windows(
    runs: EfgRuns,
    isotope: Isotope,
    ions: Sequence[np.ndarray],
    times_fs: Sequence[np.ndarray],
    average_ps: float,
    gap_ps: float,
) -> HopWindows:
    """Mean tensors before and after hops, and twice within stays.

    Args:
        runs: tensors.
        isotope: nuclide.
        ions, times_fs: for each run (n_hops,) position of the ion among those of ``runs``, -1 for hops of other ions,
            and time, sorted by ion and time.
        average_ps: length of a window.
        gap_ps: time on either side of a hop that is left out.
    """
    window, gap = (max(least, round(time / runs.step_ps)) for time, least in ((average_ps, 1), (gap_ps, 0)))
    first_hop = np.concatenate([[0], np.cumsum([len(one) for one in ions])])
    frames = [np.searchsorted(runs.time_fs(run), times - 1e-6) for run, times in enumerate(times_fs)]
    found: dict[str, list[WindowPairs]] = {'hops': [], 'stays': []}
    parts = PARTS if runs.n_ions < FEWEST_IONS else 1
    for block in runs.blocks(isotope):
        for run, series in enumerate(block.series):
            length = series.shape[2]
            for row, one in enumerate(series):
                ion = block.ions.start + row
                mine = np.flatnonzero(ions[run] == ion)
                sums = np.zeros((length + 1, 5))
                np.cumsum(one[COMPONENTS].T, axis=0, dtype=float, out=sums[1:])
                for kind, first, second, hop in _windows(frames[run][mine], length, window, gap):
                    unit = (run * runs.n_ions + ion) * parts + first * parts // length
                    number = first_hop[run] + mine[hop] if kind == 'hops' else np.full(len(first), -1)
                    before, after = ((sums[start + window] - sums[start]) / window for start in (first, second))
                    found[kind].append(WindowPairs(before, after, unit, number))
    return HopWindows(WindowPairs.join(found['hops']), WindowPairs.join(found['stays']))


def _windows(
    frames: np.ndarray, length: int, window: int, gap: int
) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Starts of the two windows of each pair, and the hop between them, for the hops of one ion and for its stays."""
    begin, end = np.concatenate([[0], frames + gap]), np.concatenate([frames - gap, [length]])
    long_enough = end - begin >= window
    judged = np.flatnonzero(long_enough[:-1] & long_enough[1:])
    yield 'hops', end[judged] - window, begin[judged + 1], judged
    apart = window + 2 * gap
    count = np.maximum((end - begin) // (window + apart), 0)
    number = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    first = np.repeat(begin, count) + (window + apart) * number
    yield 'stays', first, first + apart, number


@dataclass(frozen=True)
class HopChange(Record):
    """Change of ω_Q at hops, beyond that within stays."""

    verdict: str = quantity('', 'whether hops change the frequency, or why that is not decided')
    hops_judged: int = quantity('', 'hops with a full window on both sides')
    seen_hops: int = quantity('', 'of these, hops that change ω_Q by more than the limit')
    changed_share: float = quantity(
        '', 'share of hops whose change is above the limit, without false alarms; smaller changes pass unseen'
    )
    changed_share_ci95: tuple[float, float] = quantity('', 'its 95 % interval')
    change_rms_khz: float = quantity('kHz', 'rms change of ω_Q at a hop, without vibration and noise')
    change_rms_khz_ci95: tuple[float, float] = quantity('kHz', 'its 95 % interval')
    loss_per_hop: float = quantity('', 'share of the correlation of the mean tensors that a hop destroys')
    loss_per_hop_ci95: tuple[float, float] = quantity('', 'its 95 % interval')


@dataclass(frozen=True)
class Projection:
    """The part of a tensor that the field sees: all components alike in a powder, or one direction.

    Attributes:
        rows: (k, 5); the squares of what they make of five components add up to ω_Q².
    """

    rows: np.ndarray = field(default_factory=lambda: np.sqrt(POWDER) * np.eye(5))

    @classmethod
    def along(cls, direction: tuple[float, float, float] | None) -> Projection:
        """For a unit vector of the field; ``None`` for a powder."""
        return cls() if direction is None else cls(to_irreps(np.outer(direction, direction))[None])

    def squares(self, pairs: WindowPairs) -> np.ndarray:
        """Squared change of ω_Q of each pair, (n,) in kHz²."""
        return (((pairs.second - pairs.first) @ self.rows.T) ** 2).sum(axis=1)

    def products(self, pairs: WindowPairs) -> np.ndarray:
        """Product of ω_Q in both windows, (n,) in kHz²: noise drops out of its mean."""
        return ((pairs.first @ self.rows.T) * (pairs.second @ self.rows.T)).sum(axis=1)


def change_limit(changes: np.ndarray) -> float:
    """The change that only one in twenty pairs of windows without a hop exceeds; NaN where there are too few."""
    return float(np.quantile(changes, 1 - FALSE_ALARMS)) if len(changes) >= FEWEST_CONTROLS else np.nan


def hop_change(hops: WindowPairs, stays: WindowPairs, projection: Projection = Projection()) -> HopChange:
    """Change of ω_Q at some hops, judged by what happens within stays.

    ``loss_per_hop`` is λ = ⟨(Δω_Q)²⟩ / 2⟨ω_Q²⟩, without what vibration and noise add to the numerator, and
    with the square of the mean tensors in the denominator: hops at a rate Γ make the correlation of the mean tensors
    fall with λΓ at its beginning, whatever the sites. Errors are those of the ions, whose hops may lead to and fro
    between the same sites, or of eighths of their time where ions are few.
    """
    squares, noise, products = projection.squares(hops), projection.squares(stays), projection.products(stays)
    n_units = 1 + max((int(pairs.unit.max()) for pairs in (hops, stays) if len(pairs.unit)), default=0)

    def by_unit(pairs: WindowPairs, values: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(pairs.unit, values, n_units).astype(float)

    limit = change_limit(np.sqrt(noise))
    seen = squares > limit**2
    nothing = np.nan, (np.nan, np.nan)
    share, rms, loss = nothing, nothing, nothing
    verdict = NO_CONTROLS if np.isnan(limit) else UNCLEAR
    if len(squares) and not np.isnan(limit):
        counts, controls = by_unit(hops), by_unit(stays)
        share = _changed_share(by_unit(hops, seen), counts)
        sums, noise_sums, product_sums = by_unit(hops, squares), by_unit(stays, noise), by_unit(stays, products)
        slow = products.mean()
        square = squares.mean() - noise.mean()
        pulls = influence(sums, counts) - influence(noise_sums, controls)
        units = units_worth(counts)
        error = error_of(pulls, units)
        rms = _root(square), (_root(square - error), _root(square + error))
        if slow > 0:
            one = square / (2 * slow)
            error = error_of(pulls / (2 * slow) - one * influence(product_sums, controls) / slow, units)
            loss = one, (one - error, one + error)
        if share[1][0] > 0 or loss[1][0] > 0:
            verdict = SEEN
        elif loss[1][1] < MOST_LOSS:
            verdict = SILENT
    return HopChange(
        verdict=verdict,
        hops_judged=len(squares),
        seen_hops=int(seen.sum()),
        changed_share=share[0],
        changed_share_ci95=share[1],
        change_rms_khz=rms[0],
        change_rms_khz_ci95=rms[1],
        loss_per_hop=loss[0],
        loss_per_hop_ci95=loss[1],
    )


def _root(square: float) -> float:
    return float(np.sqrt(max(square, 0.0))) if np.isfinite(square) else np.nan


def _changed_share(seen: np.ndarray, counts: np.ndarray) -> tuple[float, tuple[float, float]]:
    """Share of hops that change the frequency, from numbers of seen hops and of hops by unit, with its interval.

    The interval is the exact one of a binomial share (Clopper and Pearson, 1934) of as many hops as these are worth,
    given how much the units differ; of as many as there are units, where all hops look alike.
    """
    total = counts.sum()
    share = seen.sum() / total
    worth = float((counts > 0).sum())
    if 0 < share < 1:
        variance = (influence(seen, counts) ** 2).sum()
        worth = float(np.clip(share * (1 - share) / variance, 1.0, total)) if variance > 0 else total
    low = beta.ppf(0.025, share * worth, (1 - share) * worth + 1) if share > 0 else 0.0
    high = beta.ppf(0.975, share * worth + 1, (1 - share) * worth) if share < 1 else 1.0
    found, low, high = ((x - FALSE_ALARMS) / (1 - FALSE_ALARMS) for x in (share, low, high))
    return float(np.clip(found, 0, 1)), (float(max(low, 0.0)), float(max(high, 0.0)))
