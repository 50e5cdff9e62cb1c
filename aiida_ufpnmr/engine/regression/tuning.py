"""Choice of settings by coordinate search: one after the other goes along its grid as long as a score falls."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.settings import DEFAULT

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

S = TypeVar('S', bound='DataclassInstance')


@dataclass(frozen=True)
class Coordinate:
    """One number that the search may change: a setting, or one entry of it where it is a mapping.

    Attributes:
        name: of the setting.
        entry: the key in the mapping, or ``default``; ``None`` for a setting that is a number.
    """

    name: str
    entry: str | None = None

    def __str__(self) -> str:
        return self.name if self.entry is None else f'{self.name} {self.entry}'

    @classmethod
    def all_of(cls, settings: Any, names: Iterable[str]) -> list[Coordinate]:
        """The coordinates of some settings; those of a mapping are its entries, and what holds where there is none."""
        coordinates = []
        for name in names:
            value = getattr(settings, name)
            entries = {DEFAULT: None, **value} if isinstance(value, Mapping) else {None: value}
            coordinates += [cls(name, entry) for entry in entries]
        return coordinates

    def value(self, settings: Any) -> Any:
        """The value that the settings have."""
        return getattr(settings, self.name) if self.entry is None else settings.entry(self.name, self.entry)

    def moved(self, settings: S, value: Any) -> S:
        """The settings with another value."""
        changed = value if self.entry is None else {**getattr(settings, self.name), self.entry: value}
        return dataclasses.replace(settings, **{self.name: changed})


#: Ends of a search along a coordinate: nothing beyond can be tried, or what lies beyond is as good.
EDGES = {1: 'upper edge', -1: 'lower edge'}
FLAT_ENDS = {1: 'flat above', -1: 'flat below'}
#: Beyond a grid that has no end, values are tried up to this factor from it.
_FARTHEST = 1e6


@dataclass(frozen=True)
class CoordinateSearch(Generic[S]):
    """A search over grids of values.

    Attributes:
        grid: values by name of setting, in ascending order; they need not be numbers.
        score: the figure to be lowered, for some settings; infinite where they cannot be used.
        threshold: the score that a step must reach, by the lowest before it.
        shown: what the progress bar says of the best settings and their score.
        endless: settings whose grid goes on at both ends, in steps of its last two values, as long as the score falls.
        limits: least and largest value that makes sense, by name; a search that ends there ends at no edge.
    """

    grid: Mapping[str, tuple]
    score: Callable[[S], float]
    threshold: Callable[[float], float]
    shown: Callable[[S, float], str]
    endless: frozenset[str] = frozenset()
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def run(self, settings: S, sweeps: int) -> tuple[S, dict[str, str]]:
        """Search in at most so many sweeps over all coordinates from where ``settings`` stand.

        Returns:
            The best settings; and by coordinate, where its best value does not lie between two that are worse: the edge
            of what could be tried, or for an endless grid a side on which it is flat.
        """
        best, lowest = settings, self.score(settings)
        coordinates = Coordinate.all_of(best, self.grid)
        ends: dict[tuple[Coordinate, int], str | None] = {}
        with progress(2 * len(coordinates) * sweeps, 'tuning', 'setting') as bar:
            for _ in range(sweeps):
                before = best
                for coordinate in coordinates:
                    for direction in (1, -1):
                        best, lowest, ends[coordinate, direction] = self._along(best, lowest, coordinate, direction)
                        bar.update()
                        bar.set_postfix_str(self.shown(best, lowest))
                if best == before:
                    break
        found = {
            str(coordinate): [ends.get((coordinate, direction)) for direction in (1, -1)] for coordinate in coordinates
        }
        return best, {name: ' and '.join(filter(None, both)) for name, both in found.items() if any(both)}

    def _along(self, best: S, lowest: float, coordinate: Coordinate, direction: int) -> tuple[S, float, str | None]:
        """Follow one coordinate up (1) or down (−1) from where it stands, as long as the score falls."""
        for value in self._values(coordinate, coordinate.value(best), direction):
            try:
                trial = coordinate.moved(best, value)
            except ValueError:
                break
            score = self.score(trial)
            if score > (threshold := self.threshold(lowest)):
                if score == math.inf:
                    break
                flat = coordinate.name in self.endless and score - lowest <= lowest - threshold
                return best, lowest, FLAT_ENDS[direction] if flat else None
            best, lowest = trial, score
        here, limits = coordinate.value(best), self.limits.get(coordinate.name, ())
        return best, lowest, None if isinstance(here, str) or here in limits else EDGES[direction]

    def _values(self, coordinate: Coordinate, here: Any, direction: int) -> Iterator[Any]:
        """The values of a coordinate beyond where it stands, nearest first."""
        values = self.grid[coordinate.name][::direction]
        for value in values:
            if (value > here) if direction > 0 else (value < here):
                yield value
        if coordinate.name not in self.endless or len(values) < 2:
            return
        step, value = values[-1] / values[-2], values[-1]
        while max(value / values[-1], values[-1] / value) < _FARTHEST:
            value = float(f'{value * step:.3g}')
            if (value > here) if direction > 0 else (value < here):
                yield value


def changes(before: S, after: S, names: Iterable[str]) -> dict[str, Any]:
    """The settings of ``after`` that are not those of ``before``."""
    return {name: getattr(after, name) for name in names if getattr(after, name) != getattr(before, name)}
