"""Choice of settings by coordinate search: one after the other goes along its grid as long as a score falls."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class CoordinateSearch(Generic[S]):
    """A search over grids of values.

    Attributes:
        grid: values by name of setting, in ascending order; they need not be numbers.
        score: the figure to be lowered, for some settings; infinite where they cannot be used.
        threshold: the score that a step must reach, by the lowest before it.
        shown: what the progress bar says of the best settings and their score.
    """

    grid: Mapping[str, tuple]
    score: Callable[[S], float]
    threshold: Callable[[float], float]
    shown: Callable[[S, float], str]

    def run(self, settings: S, sweeps: int) -> S:
        """The best settings, found in at most so many sweeps over all coordinates from where ``settings`` stand."""
        best, lowest = settings, self.score(settings)
        coordinates = Coordinate.all_of(best, self.grid)
        with progress(2 * len(coordinates) * sweeps, 'tuning', 'setting') as bar:
            for _ in range(sweeps):
                before = best
                for coordinate in coordinates:
                    for direction in (1, -1):
                        best, lowest = self._along(best, lowest, coordinate, self.grid[coordinate.name][::direction])
                        bar.update()
                        bar.set_postfix_str(self.shown(best, lowest))
                if best == before:
                    break
        return best

    def _along(self, best: S, lowest: float, coordinate: Coordinate, values: tuple) -> tuple[S, float]:
        """Follow one coordinate along ``values`` beyond where it stands, as long as the score falls."""
        ascending, here = values[-1] > values[0], coordinate.value(best)
        for value in values:
            if (value <= here) if ascending else (value >= here):
                continue
            try:
                trial = coordinate.moved(best, value)
            except ValueError:
                break
            score = self.score(trial)
            if score > self.threshold(lowest):
                break
            best, lowest = trial, score
        return best, lowest


def changes(before: S, after: S, names: Iterable[str]) -> dict[str, Any]:
    """The settings of ``after`` that are not those of ``before``."""
    return {name: getattr(after, name) for name in names if getattr(after, name) != getattr(before, name)}
