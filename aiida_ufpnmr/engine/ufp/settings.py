"""Settings of a fit of an ultra-fast potential."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.settings import DEFAULT, later_setting, old_names, settings_from_mapping, stated_values
from aiida_ufpnmr.engine.ufp.terms import Pair, Triplet, pair_names, triplet_names
from aiida_ufpnmr.engine.weights import check_rule

_BY_PAIR = ('pair_cutoff', 'ridge_pair', 'curvature_pair')
_BY_TRIPLET = ('triplet_cutoff', 'bond_intervals', 'third_intervals', 'ridge_triplet', 'curvature_triplet')
_ERRORS = ('energy_error_meV_per_atom', 'forces_error_meV_per_angstrom', 'stress_error_GPa')
#: Bounds of numbers, also of those in mappings: names of settings, the condition, and what messages say of it.
_BOUNDS: tuple[tuple[tuple[str, ...], Callable[[float], bool], str], ...] = (
    (('pair_cutoff', 'triplet_cutoff'), lambda value: 1.0 < value <= 20.0, 'must lie between 1 and 20 Å'),
    (
        ('pair_intervals', 'bond_intervals', 'third_intervals'),
        lambda value: 4 <= value <= 100,
        'must lie between 4 and 100',
    ),
    ((*_ERRORS, 'ridge_pair', 'ridge_triplet', 'ridge_moments'), lambda value: value > 0, 'must be positive'),
    (('curvature_pair', 'curvature_triplet', 'seed', 'resample'), lambda value: value >= 0, 'must not be negative'),
    (('folds',), lambda value: value >= 2, 'must be 2 or more'),
)

#: The penalty of moments where none is given, eV⁻²: each adds about a tenth of an eV.
RIDGE_MOMENTS = 100.0

#: Names in files whose format was made before settings had the names of today.
STORED = {
    'triplet_cutoff': 'trio_cutoff',
    'triplet_knots': 'trio_knots',
    'ridge_triplet': 'ridge_trio',
    'curvature_triplet': 'curvature_trio',
    'bond_intervals': 'leg_intervals',
}


@old_names(**{stored: name for name, stored in STORED.items()})
@dataclass(frozen=True)
class PotentialSettings:
    """Settings of a fit.

    The errors are what one is ready to live with; they weigh energies, forces and stresses against each other.
    Penalties are inverse variances (eV⁻²) of the coefficients and of their second differences under a Gaussian prior.

    Cut-offs and penalties are one number for all, or a mapping with an entry for some pairs (``Li-S``) or triplets
    (``S-Li-P``, the centre first; the order of the others has no meaning) and ``default`` for the rest. An entry with
    a centre alone (``S``) is for its triplets that have none of their own.

    Attributes:
        pair_cutoff: Å; a number or a mapping by pair.
        triplet_cutoff: Å, of the two bonds; the third side reaches twice as far. A number or a mapping by triplet.
        pair_intervals: intervals of each pair spline.
        bond_intervals: intervals along a bond, a number or a mapping by triplet; chosen by the amount of data where
            not given.
        third_intervals: intervals along the third side, likewise; one and a half times ``bond_intervals`` if not given.
        pair_knots: knots of some pairs, Å, from the first to the cut-off; in place of uniform ones. Where they begin
            too far out for a wall below the data, intervals as long as the first are added.
        triplet_knots: three lists of knots of some triplets: along the bonds to the first and to the second neighbour,
            and along the third side. The first three functions along each fade in, so knots should begin below the
            data.
        energy_error_meV_per_atom, forces_error_meV_per_angstrom, stress_error_GPa: weights of labels.
        ridge_pair, curvature_pair: penalties of pairs; a number or a mapping by pair.
        ridge_triplet, curvature_triplet: penalties of triplets; a number or a mapping by triplet.
        folds: number of parts for withheld errors; whole groups are kept together.
        seed: for the choice of the parts.
        resample: seed of a bootstrap: whole groups are drawn with replacement and the fit sees those alone, as a
            member of a committee does. The basis stays that of all structures. None is drawn if not given.
        weights: of structures, by name of their group or a pattern of it, and of those with ``foreign bonds``; see
            :mod:`~aiida_ufpnmr.engine.weights`. All count alike if not given.
        short_range: ``zbl`` for pairs that go on, below the data, with the repulsion of screened nuclei as their prior;
            see :mod:`~aiida_ufpnmr.engine.ufp.repulsion`. If not given they go on rising as steeply as before at
            least.
        moments: elements whose atoms have many-body terms, see :mod:`~aiida_ufpnmr.engine.ufp.moments`, as far as
            their longest bonds. None if not given.
        ridge_moments: penalty of these terms, eV⁻², on what each adds to the energy of an atom, as root mean square
            over the training set; 100 if not given.
    """

    pair_cutoff: float | dict[str, float] = 7.0
    triplet_cutoff: float | dict[str, float] = 4.0
    pair_intervals: int = 22
    bond_intervals: int | dict[str, int] | None = None
    third_intervals: int | dict[str, int] | None = None
    pair_knots: dict[str, list[float]] | None = None
    triplet_knots: dict[str, list[list[float]]] | None = None
    energy_error_meV_per_atom: float = 3.0
    forces_error_meV_per_angstrom: float = 100.0
    stress_error_GPa: float = 0.5
    ridge_pair: float | dict[str, float] = 1e-2
    curvature_pair: float | dict[str, float] = 30.0
    ridge_triplet: float | dict[str, float] = 1.0
    curvature_triplet: float | dict[str, float] = 2.0
    folds: int = 5
    seed: int = 0
    resample: int | None = None
    weights: dict[str, float] | None = later_setting()
    short_range: str | None = later_setting()
    moments: list[str] | None = later_setting()
    ridge_moments: float | None = later_setting()

    def __post_init__(self):
        check_rule(self.weights)
        if self.moments is not None and (not self.moments or len(set(self.moments)) < len(self.moments)):
            raise ValueError('moments must be a list of different elements, such as [P, S], or be left out')
        if self.ridge_moments is not None and self.moments is None:
            raise ValueError('ridge_moments is for moments, of which there are none')
        if self.short_range not in (None, 'zbl'):
            raise ValueError(f'short_range must be zbl or left out, not {self.short_range!r}')
        for names, holds, rule in _BOUNDS:
            for name in names:
                for value in _entries(getattr(self, name)):
                    if not holds(value):
                        raise ValueError(f'{name} {rule}, not {value}')
        for names, species in (((*_BY_PAIR, 'pair_knots'), 2), ((*_BY_TRIPLET, 'triplet_knots'), 3)):
            for name in names:
                _check_names(name, getattr(self, name), species)
        for kind, breaks in (self.pair_knots or {}).items():
            _check_knots(f'pair_knots of {kind}', breaks, 20.0)
        for kind, three in (self.triplet_knots or {}).items():
            if len(three) != 3:
                raise ValueError(f'triplet_knots of {kind} must be three lists: two bonds and the third side')
            for breaks, longest in zip(three, (20.0, 20.0, 40.0)):
                _check_knots(f'triplet_knots of {kind}', breaks, longest)
            if len(set(kind.split('-')[1:])) == 1 and three[0] != three[1]:
                raise ValueError(
                    f'triplet_knots of {kind}: bonds to neighbours of one species must have the same knots'
                )

    @property
    def moment_penalty(self) -> float:
        """The penalty of moments, eV⁻²."""
        return RIDGE_MOMENTS if self.ridge_moments is None else self.ridge_moments

    def to_json(self) -> str:
        """The settings as files hold them."""
        values = stated_values(self)
        return json.dumps({STORED.get(name, name): value for name, value in values.items()}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str, source: str) -> PotentialSettings:
        """The settings that a file holds; :class:`InputError` where they make no sense."""
        values = json.loads(text)
        names = {stored: name for name, stored in STORED.items()}
        return settings_from_mapping(cls, {names.get(name, name): value for name, value in values.items()}, source)

    def of_pair(self, name: str, pair: Pair) -> float:
        """The value of one of the settings that may differ by pair."""
        return self.entry(name, '-'.join(pair), '-'.join(pair[::-1]))

    def of_triplet(self, name: str, triplet: Triplet) -> float:
        """The value of one of the settings that may differ by triplet."""
        centre, first, second = triplet
        return self.entry(name, f'{centre}-{first}-{second}', f'{centre}-{second}-{first}', centre)

    def entry(self, name: str, *kinds: str) -> float:
        """The entry of a mapping by the first of some names that it holds; its default where it holds none."""
        value = getattr(self, name)
        if not isinstance(value, Mapping):
            return value
        standard: Any = next(field.default for field in dataclasses.fields(self) if field.name == name)
        return next((value[kind] for kind in (*kinds, DEFAULT) if kind in value), standard)

    def with_intervals(self, bonds: int) -> PotentialSettings:
        """The settings with so many intervals along bonds where none are given, and those of third sides filled in."""
        stated = self.bond_intervals
        filled = {DEFAULT: bonds, **stated} if isinstance(stated, Mapping) else bonds
        thirds = self.third_intervals
        if isinstance(thirds, Mapping):
            thirds = {DEFAULT: _thirds(bonds), **thirds}
        elif thirds is None:
            thirds = (
                {kind: _thirds(number) for kind, number in filled.items()}
                if isinstance(filled, Mapping)
                else _thirds(bonds)
            )
        return dataclasses.replace(self, bond_intervals=filled, third_intervals=thirds)

    def stated_pair_knots(self, pair: Pair) -> list[float] | None:
        """Knots (Å) that are stated for a pair."""
        stated = self.pair_knots or {}
        return stated.get('-'.join(pair), stated.get('-'.join(pair[::-1])))

    def stated_triplet_knots(self, triplet: Triplet) -> list[list[float]] | None:
        """Knots (Å) that are stated for a triplet, with its first neighbour first."""
        stated, (centre, first, second) = self.triplet_knots or {}, triplet
        if f'{centre}-{first}-{second}' in stated:
            return stated[f'{centre}-{first}-{second}']
        if f'{centre}-{second}-{first}' in stated:
            other, own, third = stated[f'{centre}-{second}-{first}']
            return [own, other, third]
        return None

    def longest_cutoff(self, species: Sequence[str]) -> float:
        """The longest cut-off of any pair or bond among some elements, Å."""
        pairs = [(self.stated_pair_knots(pair), self.of_pair('pair_cutoff', pair)) for pair in pair_names(species)]
        longest = [cutoff if breaks is None else breaks[-1] for breaks, cutoff in pairs]
        for triplet in triplet_names(species):
            three = self.stated_triplet_knots(triplet)
            longest += (
                [self.of_triplet('triplet_cutoff', triplet)] if three is None else [breaks[-1] for breaks in three[:2]]
            )
        return max(longest)

    def check_species(self, species: Iterable[str]) -> None:
        """Refuse entries for pairs and triplets that the data do not hold."""
        for name in (*_BY_PAIR, *_BY_TRIPLET, 'pair_knots', 'triplet_knots'):
            for kind in _kinds(getattr(self, name)):
                foreign = set(kind.split('-')) - set(species)
                if foreign:
                    raise InputError(
                        f'setting {name!r}: {kind} names {min(foreign)}, but the structures hold {", ".join(species)}'
                    )
        foreign = set(self.moments or ()) - set(species)
        if foreign:
            raise InputError(f"setting 'moments' names {min(foreign)}, but the structures hold {', '.join(species)}")


def _thirds(bonds: int) -> int:
    """Intervals along a third side, which is twice as long as the bonds but tells less."""
    return (3 * bonds) // 2


def _entries(value) -> list[float]:
    """The numbers of a setting that is a number or a mapping."""
    if isinstance(value, Mapping):
        return [number for number in value.values() if not isinstance(number, list)]
    return [] if value is None else [value]


def _kinds(value) -> list[str]:
    """The pairs or triplets that a setting names."""
    return [kind for kind in value if kind != DEFAULT] if isinstance(value, Mapping) else []


def _check_names(name: str, value, species: int) -> None:
    seen = set()
    for kind in _kinds(value):
        symbols = kind.split('-')
        of_centre = name in _BY_TRIPLET and len(symbols) == 1
        if not (of_centre or len(symbols) == species) or not set(symbols) <= set(atomic_numbers):
            example = 'Li-S' if species == 2 else 'S-Li-P, the centre first'
            raise ValueError(f'{name}: {kind!r} does not name {species} elements, as in {example}')
        same = (*symbols[: species - 2], *sorted(symbols[species - 2 :]))
        if same in seen:
            raise ValueError(f'{name}: {kind} is given twice')
        seen.add(same)


def _check_knots(name: str, breaks: list[float], longest: float) -> None:
    if len(breaks) < 5 or not (np.diff(breaks) > 0).all() or not (0 < breaks[0] and breaks[-1] <= longest):
        raise ValueError(f'{name} must be five or more ascending distances up to {longest:g} Å')
