"""Cut-offs and intervals of triplets by centre, chosen for withheld error against the cost of dynamics.

Triplets take most of the time of a step, and their number grows with the sixth power of the cut-off; how far a centre
has to reach differs by species. The search begins with short cut-offs and lengthens one at a time, that which lowers
the error most for its cost. Intervals, where they are searched as well, cost next to nothing. All that was tried and
that nothing beats in both is the front. The search itself counts the cost, so that equal inputs give equal choices;
what dynamics makes of the points of the front can be measured.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.neighbours import neighbour_list
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.regression.tuning import EDGES
from aiida_ufpnmr.engine.settings import DEFAULT
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential
from aiida_ufpnmr.engine.ufp.problem import choose_basis
from aiida_ufpnmr.engine.ufp.settings import PotentialSettings
from aiida_ufpnmr.engine.ufp.tuning import LEAST_GAIN, MOST_COLUMNS, WithheldErrors, WithheldSearch

#: Cut-offs that are tried, Å.
CUTOFFS = (3.5, 4.0, 4.5, 5.0, 5.5, 6.0)
#: Fewest and most intervals along a bond that are tried.
FEWEST_INTERVALS, MOST_INTERVALS = 4, 10
#: Settings that a search with intervals chooses.
CHOSEN = frozenset({'triplet_cutoff', 'bond_intervals', 'third_intervals'})
#: Points of the front by name: the cheapest whose error of the forces is at most so many times the least.
PROTOCOLS = {'fast': 1.25, 'balanced': 1.03, 'stringent': 1.0}
#: The one that is taken where none is named.
DEFAULT_PROTOCOL = 'balanced'
#: What a step costs beside the triplets, counted in these: pairs, lists and integration. From runs of β-Li3PS4 with
#: 80 and with 202 triplets per atom, of which the second took 1.45 times as long.
OTHER_WORK = 190.0


@dataclass(frozen=True)
class Reach:
    """Cut-offs of triplets by centre and, where they are searched, intervals along their bonds.

    Attributes:
        species: the centres.
        cutoffs: of each, Å.
        intervals: of each; none where the settings keep theirs.
    """

    species: tuple[str, ...]
    cutoffs: tuple[float, ...]
    intervals: tuple[int, ...] = ()

    def steps(self) -> list[Reach]:
        """All that differ by the next longer cut-off of one centre, or by one interval."""
        longer = [CUTOFFS[CUTOFFS.index(cutoff) + 1 :][:1] for cutoff in self.cutoffs]
        steps = [
            dataclasses.replace(self, cutoffs=_with(self.cutoffs, s, new[0])) for s, new in enumerate(longer) if new
        ]
        for s, here in enumerate(self.intervals):
            for new in (here + 1, here - 1):
                if FEWEST_INTERVALS <= new <= MOST_INTERVALS:
                    steps.append(dataclasses.replace(self, intervals=_with(self.intervals, s, new)))
        return steps

    def settings(self, settings: PotentialSettings) -> PotentialSettings:
        """The settings with these cut-offs and intervals."""
        settings = dataclasses.replace(settings, triplet_cutoff=dict(zip(self.species, self.cutoffs)))
        if not self.intervals:
            return settings
        common = Counter(self.intervals).most_common(1)[0][0]
        others = {symbol: number for symbol, number in zip(self.species, self.intervals) if number != common}
        return dataclasses.replace(settings, bond_intervals={DEFAULT: common, **others} if others else common)

    def ends(self, unusable: Container[Reach]) -> dict[str, str]:
        """The edge of what could be tried at which a number lies, by setting and centre."""
        ends = {}
        for symbol, cutoff in zip(self.species, self.cutoffs):
            if cutoff in (CUTOFFS[0], CUTOFFS[-1]):
                ends[f'triplet_cutoff {symbol}'] = EDGES[1 if cutoff == CUTOFFS[-1] else -1]
        for s, (symbol, number) in enumerate(zip(self.species, self.intervals)):
            finer = dataclasses.replace(self, intervals=_with(self.intervals, s, number + 1))
            if number == FEWEST_INTERVALS:
                ends[f'bond_intervals {symbol}'] = EDGES[-1]
            elif number == MOST_INTERVALS or finer in unusable:
                ends[f'bond_intervals {symbol}'] = EDGES[1]
        return ends

    def results(self) -> dict[str, dict[str, float]]:
        """The numbers by centre, as results hold them."""
        found: dict[str, dict[str, float]] = {'triplet_cutoff_angstrom': dict(zip(self.species, self.cutoffs))}
        if self.intervals:
            found['bond_intervals'] = dict(zip(self.species, self.intervals))
        return found


def _with(numbers: tuple, place: int, number: float) -> tuple:
    return (*numbers[:place], number, *numbers[place + 1 :])


@dataclass(frozen=True)
class Point:
    """One choice of cut-offs and intervals.

    Attributes:
        reach: the choice.
        triplets_per_atom: mean over all structures.
        errors: on withheld structures.
    """

    reach: Reach
    triplets_per_atom: float
    errors: WithheldErrors

    def beats(self, other: Point) -> bool:
        """True where it costs no more, errs no more, and is another in one of them."""
        mine = (self.triplets_per_atom, self.errors.forces)
        theirs = (other.triplets_per_atom, other.errors.forces)
        return mine != theirs and mine[0] <= theirs[0] and mine[1] <= theirs[1]


def count_triplets(dataset: Dataset, cutoffs: Sequence[float] = CUTOFFS) -> dict[str, np.ndarray]:
    """Triplets per atom (all atoms, of any species) by their centre, an array over cut-offs (Å)."""
    totals = {symbol: np.zeros(len(cutoffs)) for symbol in dataset.species}
    for atoms in dataset:
        near = neighbour_list(atoms.positions, atoms.cell.array, atoms.pbc, max(cutoffs))
        distances = np.linalg.norm(near.vectors(atoms.positions, atoms.cell.array), axis=1)
        symbols = np.array(atoms.get_chemical_symbols())
        for c, cutoff in enumerate(cutoffs):
            count = np.bincount(near.centre[distances < cutoff], minlength=len(atoms))
            for symbol, total in totals.items():
                total[c] += np.sum((count * (count - 1) // 2)[symbols == symbol])
    n_atoms = sum(map(len, dataset))
    return {symbol: total / n_atoms for symbol, total in totals.items()}


def search_front(
    dataset: Dataset,
    settings: PotentialSettings,
    protocol: str,
    *,
    intervals: bool = False,
    speed: Callable[[UltraFastPotential], float | None] | None = None,
) -> tuple[PotentialSettings, dict]:
    """Find the front and take the point of a protocol.

    Args:
        dataset: structures with energy and forces, of two groups at least.
        settings: all but ``triplet_cutoff`` are kept; folds, seed and weights say how errors are measured.
        protocol: a name in :data:`PROTOCOLS`.
        intervals: search ``bond_intervals`` by centre, too.
        speed: measures the atom-steps a second of a potential; it is asked for those of the front.

    Returns:
        The settings of the point, and a report: the protocol, its numbers, those that lie at an edge of what could be
        tried, all points that were tried, by cost, and whether they lie on the front.

    Raises:
        InputError: the structures are of one group, or no cut-offs can be tried.
    """
    here, most_columns = _begin(dataset, settings, intervals)
    search, counts = WithheldSearch(dataset, settings, most_columns), count_triplets(dataset)
    points: dict[Reach, Point] = {}

    def measured(reach: Reach) -> Point:
        if reach not in points:
            places = map(CUTOFFS.index, reach.cutoffs)
            triplets = sum(float(counts[symbol][place]) for symbol, place in zip(reach.species, places))
            points[reach] = Point(reach, triplets, search.errors(reach.settings(settings)))
        return points[reach]

    most_steps = len(here.cutoffs) * (len(CUTOFFS) - 1) + len(here.intervals) * (MOST_INTERVALS - FEWEST_INTERVALS)
    with progress(most_steps, 'cut-offs', 'step') as bar:
        while True:
            now = measured(here)
            gains = {step: _gain(now, measured(step)) for step in here.steps()}
            bar.update()
            bar.set_postfix_str(f'{now.errors.forces:.0f} meV/Å')
            if not gains or max(gains.values()) <= 0:
                break
            here = max(gains, key=lambda step: gains[step])
    usable = [point for point in points.values() if np.isfinite(point.errors.forces)]
    if not usable:
        raise InputError(
            f'{dataset.source}: no triplet cut-off between {CUTOFFS[0]:g} and {CUTOFFS[-1]:g} Å can be tried'
        )
    front = [point for point in usable if not any(other.beats(point) for other in usable)]
    speeds = {}
    if speed is not None:
        with progress(len(front), 'speed', 'point') as bar:
            for point in front:
                speeds[point.reach] = speed(search.potential(point.reach.settings(settings)))
                bar.update()
    chosen = choose(front, protocol)
    reference = cost(sum(float(count[CUTOFFS.index(4.0)]) for count in counts.values()))
    return chosen.reach.settings(settings), {
        'protocol': protocol,
        **chosen.reach.results(),
        'ends': chosen.reach.ends({reach for reach, point in points.items() if point not in usable}),
        'folds': len(search.folds),
        'points': [
            {
                **point.reach.results(),
                'triplets_per_atom': point.triplets_per_atom,
                'cost_relative_to_4_angstrom': cost(point.triplets_per_atom) / reference,
                **({'atom_steps_per_second': speeds[point.reach]} if point.reach in speeds else {}),
                'forces_rmse_meV_per_angstrom': point.errors.forces,
                'energy_rmse_meV_per_atom': point.errors.energy,
                'on_front': point in front,
                'protocols': [name for name in PROTOCOLS if choose(front, name) is point],
            }
            for point in sorted(usable, key=lambda point: point.triplets_per_atom)
        ],
    }


def _begin(dataset: Dataset, settings: PotentialSettings, intervals: bool) -> tuple[Reach, int]:
    """Where a search begins, and the columns up to which it goes: where intervals are searched, half as many as there
    are force components, since finer grids cost most of the time and gain nothing."""
    shortest = Reach(dataset.species, (CUTOFFS[0],) * len(dataset.species))
    if not intervals:
        return shortest, MOST_COLUMNS
    filled, basis = choose_basis(dataset, shortest.settings(settings))
    numbers = (int(filled.entry('bond_intervals', symbol)) for symbol in dataset.species)
    within = tuple(min(max(number, FEWEST_INTERVALS), MOST_INTERVALS) for number in numbers)
    components = 3 * sum(map(len, dataset))
    return dataclasses.replace(shortest, intervals=within), min(MOST_COLUMNS, max(components // 2, basis.n_columns))


def choose(front: Sequence[Point], protocol: str) -> Point:
    """The point of a protocol among some."""
    limit = PROTOCOLS[protocol] * min(point.errors.forces for point in front)
    return min((p for p in front if p.errors.forces <= limit), key=lambda point: point.triplets_per_atom)


def cost(triplets_per_atom: float) -> float:
    """Cost of a step of dynamics, in triplets per atom."""
    return OTHER_WORK + triplets_per_atom


def _gain(now: Point, then: Point) -> float:
    """Relative fall of the error for the relative rise of the cost; zero where the folds cannot tell."""
    fall = 1 - then.errors.forces / now.errors.forces if np.isfinite(now.errors.forces) else 1.0
    if not fall > LEAST_GAIN:
        return 0.0
    return fall / max(1e-6, cost(then.triplets_per_atom) / cost(now.triplets_per_atom) - 1)


def front_table(report: Mapping[str, Any]) -> list[list[str]]:
    """Rows of the front, the heading first."""
    points = [point for point in report['points'] if point['on_front']]
    columns: list[tuple[str, Callable[[Mapping[str, Any]], str]]] = [
        ('cut-offs, Å', lambda point: by_centre(point['triplet_cutoff_angstrom'])),
        ('intervals', lambda point: by_centre(point['bond_intervals'])),
        ('triplets per atom', lambda point: f'{point["triplets_per_atom"]:.0f}'),
        ('cost, 4 Å for all = 1', lambda point: f'{point["cost_relative_to_4_angstrom"]:.2f}'),
        ('atom-steps/s on a core', lambda point: _speed(point['atom_steps_per_second'])),
        ('forces withheld, meV/Å', lambda point: f'{point["forces_rmse_meV_per_angstrom"]:.0f}'),
        ('protocol', lambda point: ', '.join(point['protocols'])),
    ]
    left_out = {'intervals': 'bond_intervals', 'atom-steps/s on a core': 'atom_steps_per_second'}
    shown = [column for column in columns if left_out.get(column[0]) in (None, *points[0])]
    return [[heading for heading, _ in shown], *([text(point) for _, text in shown] for point in points)]


def _speed(atom_steps_per_second: float | None) -> str:
    return '–' if atom_steps_per_second is None else f'{atom_steps_per_second:.3g}'


def by_centre(numbers: Mapping[str, float]) -> str:
    """Numbers by centre in a line."""
    return ' '.join(f'{symbol} {number:g}' for symbol, number in numbers.items())
