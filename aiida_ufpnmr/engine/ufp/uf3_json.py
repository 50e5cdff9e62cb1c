"""Potentials of the UF3 package: its JSON files, of today and of its early versions.

Today a file holds ``coefficients`` by interaction, those of a triplet as a table (bond, bond, third side), and
``knots``. Early files, such as that of the paper, have ``solution`` in place of ``coefficients``, with the table of a
triplet pressed into a list: entries that no triangle can reach, trimmed ones, and those by symmetry are left out.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import whole_file
from aiida_ufpnmr.engine.ufp import clamped
from aiida_ufpnmr.engine.ufp.content import PotentialContent
from aiida_ufpnmr.engine.ufp.splines import TRIM


def write_json(potential: PotentialContent, path) -> list[str]:
    """Write a potential in the JSON form of the UF3 package; returns what the format cannot carry."""
    pairs, wall = clamped.with_walls(potential)
    coefficients: dict[str, Any] = {s: float(e) for s, e in zip(potential.species, potential.one_body)}
    knots: dict[str, Any] = {}
    for name, term in pairs.items():
        coefficients['-'.join(name)] = clamped.pair_coefficients(term).tolist()
        knots['-'.join(name)] = term.grid.clamped_knots.tolist()
    for three, triplet in potential.triplets.items():
        coefficients['-'.join(three)] = clamped.triplet_coefficients(triplet).tolist()
        knots['-'.join(three)] = [grid.clamped_knots.tolist() for grid in triplet.grids]
    content = {
        'coefficients': coefficients,
        'knots': knots,
        'knots_map': knots,
        'knot_strategy': 'linear',
        'offset_1b': True,
        'leading_trim': 0,
        'trailing_trim': TRIM,
        'element_list': list(potential.species),
        'degree': 3 if potential.triplets else 2,
    }
    with whole_file(path) as partial:
        partial.write_text(json.dumps(content) + '\n')
    return [clamped.LOST_EVERYWHERE, wall]


def read_json(path) -> PotentialContent:
    """The content of a JSON file of the UF3 package.

    Raises:
        InputError: not such a file, or an interaction that is broken or missing.
    """
    try:
        content = json.loads(Path(path).read_text())
        coefficients = content['coefficients'] if 'coefficients' in content else content['solution']
        knots = content['knots'] if 'knots' in content else content['knots_map']
        interactions = {tuple(name.split('-')): values for name, values in coefficients.items()}
        knots = {tuple(name.split('-')): values for name, values in knots.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f'{path}: not a potential of the UF3 package (no coefficients and knots in it)') from error
    pairs, triplets, one_body = {}, {}, {}
    for species, values in interactions.items():
        where = f'{path}, {"-".join(species)}'
        if len(species) > 1 and species not in knots:
            raise InputError(f'{where}: has no knots')
        try:
            if len(species) == 1:
                one_body[species[0]] = float(values)
                if not np.isfinite(one_body[species[0]]):
                    raise ValueError('NaN or infinite coefficients')
            elif len(species) == 2:
                pairs[species] = clamped.pair_term(np.array(knots[species], float), np.array(values, float))
            elif len(species) == 3:
                three = _three(knots[species])
                table = np.array(values, float)
                if table.ndim == 1:
                    table = decompressed(table, three, species, _trims(content))
                triplets[species] = clamped.triplet_term(three, table)
            else:
                raise ValueError('only one-, two- and three-body terms are known')
        except (ValueError, TypeError) as error:
            raise InputError(f'{where}: {error}') from None
    return clamped.assemble(pairs, triplets, one_body, path)


def _three(knots: Sequence) -> tuple[np.ndarray, ...]:
    """Knots along three axes; both bonds, or all axes, may share theirs."""
    if knots and not isinstance(knots[0], Sequence):
        knots = [knots] * 3
    elif len(knots) == 2:
        knots = [knots[0], knots[0], knots[1]]
    if len(knots) != 3:
        raise ValueError(f'knots along {len(knots)} axes')
    return tuple(np.array(one, float) for one in knots)


def _trims(content: Mapping) -> tuple[int, int]:
    """Numbers of functions that are left out at the beginning and at the end of each axis of a triplet."""
    trims = []
    for name, standard in (('leading_trim', 0), ('trailing_trim', TRIM)):
        value = content.get(name, standard)
        trims.append(int(value.get('3', standard) if isinstance(value, Mapping) else value))
    return trims[0], trims[1]


def decompressed(
    values: np.ndarray, knots: tuple[np.ndarray, ...], species: tuple[str, str, str], trims: tuple[int, int]
) -> np.ndarray:
    """The table (a, b, c) of a triplet from the list of those of its entries that count.

    They are, in the order of the axes, those whose functions some triangle can reach, without ``trims`` functions at
    the beginnings and ends. Of entries that change place with neighbours of one species, one is listed; where all three
    atoms and all three axes are alike, one of those that change place in any way.

    Raises:
        ValueError: their number is another.
    """
    shape = tuple(len(k) - 4 for k in knots)
    counts = np.ones(shape, bool)
    for axis, k in enumerate(knots):
        others = [_along(other, knots[other][4:]) for other in range(3) if other != axis]
        counts &= sum(others) > _along(axis, k[:-4])
        function = np.arange(shape[axis])
        counts &= _along(axis, (function >= trims[0]) & (function < shape[axis] - trims[1]))
    alike: list[tuple[int, ...]] = [(0, 1, 2)]
    if species[1] == species[2] and np.array_equal(knots[0], knots[1]):
        alike.append((1, 0, 2))
        if species[0] == species[1] and np.array_equal(knots[0], knots[2]):
            alike = list(itertools.permutations(range(3)))
    first, second, third = np.indices(shape)
    if len(alike) > 1:
        counts &= first <= second
    if len(alike) > 2:
        counts &= second <= third
    if len(values) != counts.sum():
        raise ValueError(f'{len(values)} coefficients instead of {counts.sum()} (or a table) for its knots')
    table = np.zeros(shape)
    for order in alike:
        np.transpose(table, order)[counts] = values
    return table


def _along(axis: int, values: np.ndarray) -> np.ndarray:
    """Values along one of three axes."""
    return np.expand_dims(values, [other for other in range(3) if other != axis])
