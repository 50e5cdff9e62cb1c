"""Potentials for LAMMPS: the ``.uf3`` file of ``pair_style uf3``.

LAMMPS asks for more than its format says, and does not notice where it is not given: all blocks of one kind of knots,
equal cut-offs of both bonds and a third side of exactly twice that, pairs that reach as far as the bonds, and a third
side with no fewer knots than the bonds. Other potentials are brought into that form where this changes nothing.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import whole_file
from aiida_ufpnmr.engine.ufp import clamped
from aiida_ufpnmr.engine.ufp.content import PotentialContent
from aiida_ufpnmr.engine.ufp.splines import Grid
from aiida_ufpnmr.engine.ufp.terms import PairTerm, TripletTerm

_HEADER = '#UF3 POT UNITS: metal DATE: - AUTHOR: aiida-ufpnmr CITATION: -'
#: Cut-offs that agree within this are equal, Å.
_EQUAL = 1e-9


def write_uf3(potential: PotentialContent, path) -> list[str]:
    """Write a potential for LAMMPS; returns what the format cannot carry.

    Raises:
        InputError: a term that LAMMPS cannot compute.
    """
    pairs, triplets, wall = _for_lammps(potential, path)
    grids = [*(term.grid for term in pairs.values()), *(grid for term in triplets.values() for grid in term.grids)]
    kind = 'uk' if all(grid.is_uniform for grid in grids) else 'nk'
    lines = []
    for name, term in pairs.items():
        knots, coefficients = term.grid.clamped_knots, clamped.pair_coefficients(term)
        lines += [_HEADER, f'2B {" ".join(name)} 0 3 {kind}', f'{term.grid.stop!r} {len(knots)}', _text(knots)]
        lines += [str(len(coefficients)), _text(coefficients), '#']
    for name, term in triplets.items():
        table = clamped.triplet_coefficients(term)
        knots = [grid.clamped_knots for grid in term.grids[::-1]]
        lines += [_HEADER, f'3B {" ".join(name)} 0 3 {kind}']
        lines += [' '.join([*(repr(grid.stop) for grid in term.grids[::-1]), *(str(len(k)) for k in knots)])]
        lines += [_text(k) for k in knots]
        lines += [' '.join(str(size) for size in table.shape)]
        lines += [_text(row) for row in table.reshape(-1, table.shape[2])]
        lines += ['#']
    with whole_file(path) as partial:
        partial.write_text('\n'.join(lines) + '\n')
    lost = [clamped.LOST_EVERYWHERE]
    if np.any(potential.one_body):
        energies = ', '.join(f'{s} {e:.6f} eV' for s, e in zip(potential.species, potential.one_body))
        lost.append(f'one-body energies ({energies}): add them to the energies of LAMMPS')
    if not triplets:
        lost.append('that there is no three-body energy: use "pair_style uf3 2"')
    return [*lost, wall]


def _text(values) -> str:
    return ' '.join(repr(float(v)) for v in values)


def _for_lammps(potential: PotentialContent, path) -> tuple[dict, dict, str]:
    """The terms in the form that LAMMPS can compute, and what is said of their walls."""
    pairs, wall = clamped.with_walls(potential)
    triplets = {}
    for name, term in potential.triplets.items():
        try:
            triplets[name] = _triplet_for_lammps(term)
            for other in name[1:]:
                pair = (name[0], other) if (name[0], other) in pairs else (other, name[0])
                # LAMMPS looks for neighbours of triplets among those within the cut-off of the pair
                pairs[pair] = pairs[pair].reaching(triplets[name].grids[0].stop - _EQUAL)
        except ValueError as error:
            raise InputError(f'{path}: LAMMPS cannot compute the triplet {"-".join(name)}: {error}') from None
    return pairs, triplets, wall


def _triplet_for_lammps(term: TripletTerm) -> TripletTerm:
    """The term with bonds of one length, and a third side of twice that with no fewer functions than the bonds."""
    bond = max(grid.stop for grid in term.grids[:2])
    for axis, stop in ((0, bond), (1, bond), (2, 2 * bond)):
        term = _ending_at(term.reaching(axis, stop - _EQUAL), axis, stop)
    most = max(grid.n_functions for grid in term.grids[:2])
    parts = -(-most // term.grids[2].n_functions)
    if parts > 1:
        finer = term.grids[2].refined(parts)
        coefficients = term.coefficients @ term.grids[2].to_finer(finer).T
        term = TripletTerm((*term.grids[:2], finer), coefficients)
    return term


def _ending_at(term: TripletTerm, axis: int, stop: float) -> TripletTerm:
    """The term with the last break of one axis at ``stop`` exactly, where that changes nothing but round-off.

    Raises:
        ValueError: it would.
    """
    grid = term.grids[axis]
    breaks = np.array(grid.breaks)
    if grid.stop == stop:
        return term
    if abs(grid.stop - stop) > _EQUAL:
        # functions that live within the breaks before the last one stay as they are wherever that one lies
        if breaks[-2] >= stop or np.take(term.coefficients, range(-4, 0), axis).any():
            raise ValueError(f'one of its sides must end at {stop:g} Å, and ends at {grid.stop:g} Å')
    breaks[-1] = stop
    grids = list(term.grids)
    grids[axis] = Grid(tuple(breaks.tolist()))
    return dataclasses.replace(term, grids=tuple(grids))


def read_uf3(path) -> PotentialContent:
    """The content of a LAMMPS ``.uf3`` file.

    Raises:
        InputError: not such a file, other units, knots that cannot be represented, a missing or broken block.
    """
    try:
        lines = Path(path).read_text().splitlines()
    except UnicodeDecodeError:
        raise InputError(f'{path}: not a text file') from None
    pairs: dict = {}
    triplets: dict = {}
    at = 0
    while at < len(lines):
        if not lines[at].startswith('#UF3 POT'):
            if lines[at].strip() not in ('', '#'):
                raise InputError(f'{path}, line {at + 1}: expected a "#UF3 POT" header, found {lines[at][:40]!r}')
            at += 1
            continue
        if 'UNITS: metal' not in lines[at]:
            raise InputError(f'{path}, line {at + 1}: units must be "metal" (eV, Å)')
        words = lines[at + 1].split() if at + 1 < len(lines) else []
        known = {'2B': (2, pairs, _read_pair), '3B': (3, triplets, _read_triplet)}
        if not words or words[0] not in known or len(words) != 4 + known[words[0]][0]:
            found = ' '.join(words)[:40]
            raise InputError(
                f'{path}, line {at + 2}: expected "2B" or "3B" with species, trims and knots, found {found!r}'
            )
        count, terms, read = known[words[0]]
        name, kind = tuple(words[1 : count + 1]), words[-1]
        where = f'{path}, {"-".join(name)} (line {at + 2})'
        if name in terms:
            raise InputError(f'{where}: the block is there twice')
        if kind not in ('uk', 'nk'):
            raise InputError(f'{where}: knots are "uk" (uniform) or "nk", not {kind!r}')
        try:
            term, grids, at = read(lines, at + 2, path)
        except InputError:
            raise
        except ValueError as error:
            raise InputError(f'{where}: {error}') from None
        if kind == 'uk' and not all(grid.is_uniform for grid in grids):
            raise InputError(f'{where}: knots are said to be uniform (uk), but are not')
        terms[name] = term
    return clamped.assemble(pairs, triplets, {}, path)


def _numbers(lines: list[str], at: int, path, kind=float) -> np.ndarray:
    """The numbers on a line."""
    try:
        return np.array([kind(word) for word in lines[at].split()])
    except (ValueError, IndexError):
        raise InputError(f'{path}, line {at + 1}: numbers expected; the block is damaged or cut') from None


def _check_head(head: np.ndarray, knots: list[np.ndarray]) -> None:
    """Cut-offs and numbers of knots, as a block gives them ahead of its knots."""
    if head.shape != (2 * len(knots),) or [len(k) for k in knots] != head[len(knots) :].tolist():
        raise ValueError('the numbers of knots are not those that the block says')
    for stop, k in zip(head, knots):
        if not abs(stop - k[-1]) < 1e-6:
            raise ValueError(f'the cut-off {stop:g} Å is not the last knot, {k[-1]:g} Å')


def _read_pair(lines: list[str], at: int, path) -> tuple[PairTerm, list[Grid], int]:
    knots = _numbers(lines, at + 1, path)
    _check_head(_numbers(lines, at, path), [knots])
    coefficients = _numbers(lines, at + 3, path)
    if _numbers(lines, at + 2, path, int).tolist() != [len(coefficients)]:
        raise ValueError('the number of coefficients is not what the block says')
    term = clamped.pair_term(knots, coefficients)
    return term, [term.grid], at + 4


def _read_triplet(lines: list[str], at: int, path) -> tuple[TripletTerm, list[Grid], int]:
    knots = [_numbers(lines, at + 1 + a, path) for a in range(3)]
    _check_head(_numbers(lines, at, path), knots)
    shape = tuple(_numbers(lines, at + 4, path, int).tolist())
    if shape != tuple(len(k) - 4 for k in knots[::-1]):
        raise ValueError(f'a table of {shape} does not fit its knots')
    rows = [_numbers(lines, at + 5 + row, path) for row in range(shape[0] * shape[1])]
    if any(len(row) != shape[2] for row in rows):
        raise ValueError('the table of coefficients is cut')
    term = clamped.triplet_term(tuple(knots[::-1]), np.array(rows).reshape(shape))
    return term, list(term.grids), at + 5 + len(rows)
