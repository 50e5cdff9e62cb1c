"""Cut-offs of triplets by centre, chosen for withheld error against the cost of dynamics.

Triplets take most of the time of a step, and their number grows with the sixth power of the cut-off; how far a centre
has to reach differs by species. The search begins with short cut-offs and lengthens one at a time, that which lowers
the error most for its cost. All that was tried and that nothing beats in both is the front.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.neighbours import neighbour_list
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.ufp.settings import PotentialSettings
from aiida_ufpnmr.engine.ufp.tuning import LEAST_GAIN, WithheldErrors, WithheldSearch

#: Cut-offs that are tried, Å.
CUTOFFS = (3.5, 4.0, 4.5, 5.0, 5.5, 6.0)
#: Points of the front by name: the cheapest whose error of the forces is at most so many times the least.
PROTOCOLS = {'fast': 1.25, 'balanced': 1.03, 'stringent': 1.0}
#: What a step costs beside the triplets, counted in these: pairs, lists and integration. From runs of β-Li3PS4 with
#: 80 and with 202 triplets per atom, of which the second took 1.45 times as long.
OTHER_WORK = 190.0


@dataclass(frozen=True)
class Point:
    """One choice of cut-offs.

    Attributes:
        cutoffs_angstrom: by centre.
        triplets_per_atom: mean over all structures.
        errors: on withheld structures.
    """

    cutoffs_angstrom: Mapping[str, float]
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


def search_front(dataset: Dataset, settings: PotentialSettings, protocol: str) -> tuple[PotentialSettings, dict]:
    """Find the front and take the point of a protocol.

    Args:
        dataset: structures with energy and forces, of two groups at least.
        settings: all but ``triplet_cutoff`` are kept; folds, seed and weights say how errors are measured.
        protocol: a name in :data:`PROTOCOLS`.

    Returns:
        The settings with the cut-offs of the point, and a report: the protocol, its cut-offs, all points that were
        tried, by cost, and whether they lie on the front.

    Raises:
        InputError: the structures are of one group, or no cut-offs can be tried.
    """
    search, counts = WithheldSearch(dataset, settings), count_triplets(dataset)
    points: dict[tuple[int, ...], Point] = {}

    def with_cutoffs(places: Sequence[int]) -> PotentialSettings:
        return dataclasses.replace(settings, triplet_cutoff=_cutoffs(dataset.species, places))

    def measured(places: tuple[int, ...]) -> Point:
        if places not in points:
            triplets = sum(float(counts[symbol][place]) for symbol, place in zip(dataset.species, places))
            errors = search.errors(with_cutoffs(places))
            points[places] = Point(_cutoffs(dataset.species, places), triplets, errors)
        return points[places]

    here = (0,) * len(dataset.species)
    with progress(len(here) * (len(CUTOFFS) - 1), 'cut-offs', 'step') as bar:
        while True:
            now = measured(here)
            steps = [(*here[:s], here[s] + 1, *here[s + 1 :]) for s in range(len(here)) if here[s] + 1 < len(CUTOFFS)]
            gains = {step: _gain(now, measured(step)) for step in steps}
            bar.update()
            bar.set_postfix_str(f'{now.errors.forces:.0f} meV/Å')
            if not gains or max(gains.values()) <= 0:
                break
            here = max(steps, key=lambda step: gains[step])
    usable = [point for point in points.values() if np.isfinite(point.errors.forces)]
    if not usable:
        raise InputError(
            f'{dataset.source}: no triplet cut-off between {CUTOFFS[0]:g} and {CUTOFFS[-1]:g} Å can be tried'
        )
    front = [point for point in usable if not any(other.beats(point) for other in usable)]
    chosen = choose(front, protocol)
    reference = cost(sum(float(count[CUTOFFS.index(4.0)]) for count in counts.values()))
    report = {
        'protocol': protocol,
        'triplet_cutoff_angstrom': dict(chosen.cutoffs_angstrom),
        'folds': len(search.folds),
        'points': [
            {
                'triplet_cutoff_angstrom': dict(point.cutoffs_angstrom),
                'triplets_per_atom': point.triplets_per_atom,
                'cost_relative_to_4_angstrom': cost(point.triplets_per_atom) / reference,
                'forces_rmse_meV_per_angstrom': point.errors.forces,
                'energy_rmse_meV_per_atom': point.errors.energy,
                'on_front': point in front,
                'protocols': [name for name in PROTOCOLS if choose(front, name) is point],
            }
            for point in sorted(usable, key=lambda point: point.triplets_per_atom)
        ],
    }
    return dataclasses.replace(settings, triplet_cutoff=dict(chosen.cutoffs_angstrom)), report


def choose(front: Sequence[Point], protocol: str) -> Point:
    """The point of a protocol among some."""
    limit = PROTOCOLS[protocol] * min(point.errors.forces for point in front)
    return min((p for p in front if p.errors.forces <= limit), key=lambda point: point.triplets_per_atom)


def cost(triplets_per_atom: float) -> float:
    """Cost of a step of dynamics, in triplets per atom."""
    return OTHER_WORK + triplets_per_atom


def _cutoffs(species: Sequence[str], places: Sequence[int]) -> dict[str, float]:
    return {symbol: CUTOFFS[place] for symbol, place in zip(species, places)}


def _gain(now: Point, then: Point) -> float:
    """Relative fall of the error for the relative rise of the cost; zero where the folds cannot tell."""
    fall = 1 - then.errors.forces / now.errors.forces if np.isfinite(now.errors.forces) else 1.0
    if not fall > LEAST_GAIN:
        return 0.0
    return fall / max(1e-6, cost(then.triplets_per_atom) / cost(now.triplets_per_atom) - 1)


def front_table(report: Mapping[str, Any]) -> list[list[str]]:
    """Rows of the front, the heading first."""
    rows = [['cut-offs, Å', 'triplets per atom', 'cost, 4 Å for all = 1', 'forces withheld, meV/Å', 'protocol']]
    for point in report['points']:
        if point['on_front']:
            cutoffs = ' '.join(f'{symbol} {value:g}' for symbol, value in point['triplet_cutoff_angstrom'].items())
            rows.append(
                [
                    cutoffs,
                    f'{point["triplets_per_atom"]:.0f}',
                    f'{point["cost_relative_to_4_angstrom"]:.2f}',
                    f'{point["forces_rmse_meV_per_angstrom"]:.0f}',
                    ', '.join(point['protocols']),
                ]
            )
    return rows
