"""Exchange of potentials with LAMMPS (``pair_style uf3``, ``.uf3``) and with the UF3 package (``.json``).

Both write clamped knots, the first and the last repeated four times. On uniform intervals the clamped and the uniform basis
span the same splines; the change between them is a small exact linear solve, done on reading and on writing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers
from scipy.interpolate import BSpline

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import whole_file
from aiida_ufpnmr.engine.ufp.splines import design_matrix


#: What neither format has a place for.
LOST_EVERYWHERE = 'settings, hash of the training set, shortest distances in it, and the posterior for uncertainties'


def clamped_knots(start: float, stop: float, n_intervals: int) -> np.ndarray:
    """Knots of the clamped basis over uniform intervals, (n_intervals + 7,)."""
    inner = start + (stop - start) / n_intervals * np.arange(n_intervals + 1)
    inner[-1] = stop
    return np.concatenate([[start] * 3, inner, [stop] * 3])


def to_clamped(start: float, stop: float, n_intervals: int) -> np.ndarray:
    """Matrix that takes coefficients of the uniform basis to those of the clamped one, (n + 3, n + 3)."""
    n = n_intervals + 3
    # Chebyshev points, several to an interval: more equations than unknowns, all of them exact
    points = start + (stop - start) * (0.5 - 0.5 * np.cos(np.pi * (np.arange(4 * n) + 0.5) / (4 * n)))
    clamped = BSpline.design_matrix(points, clamped_knots(start, stop, n_intervals), 3).toarray()
    uniform = design_matrix(points, start, (stop - start) / n_intervals, n_intervals)
    matrix = np.linalg.lstsq(clamped, uniform, rcond=None)[0]
    matrix[abs(matrix) < 1e-13] = 0.0
    return matrix


def from_clamped(start: float, stop: float, n_intervals: int) -> np.ndarray:
    """The inverse of :func:`to_clamped`."""
    return np.linalg.inv(to_clamped(start, stop, n_intervals))


def _grid(knots: np.ndarray, where: str) -> tuple[float, float, int]:
    """Start, stop and number of intervals of clamped uniform knots."""
    n = len(knots) - 7
    if n < 1 or not np.isfinite(knots).all():
        raise InputError(f'{where}: {len(knots)} knots, or knots that are NaN; 8 or more are needed')
    start, stop = float(knots[3]), float(knots[-4])
    expected = clamped_knots(start, stop, n)
    if not np.allclose(knots, expected, atol=1e-6 * (stop - start) / n):
        raise InputError(f'{where}: knots are not uniform with four equal ones at either end; only such are known here')
    return start, stop, n


def write_uf3(potential, path) -> list[str]:
    """Write a potential for LAMMPS ``pair_style uf3``; returns what the format cannot carry."""
    header = '#UF3 POT UNITS: metal DATE: - AUTHOR: aiida-ufpnmr CITATION: -'
    lines = []

    def text(values):
        return ' '.join(repr(float(v)) for v in values)

    for a, b, (start, stop, n), c in _pairs(potential):
        knots, coefficients = clamped_knots(start, stop, n), to_clamped(start, stop, n) @ c
        lines += [header, f'2B {a} {b} 0 3 uk', f'{stop!r} {len(knots)}', text(knots)]
        lines += [str(n + 3), text(coefficients), '#']
    for a, b, c, grids, block in _trios(potential):
        clamped = np.einsum('al,bm,cn,lmn->abc', *(to_clamped(*grid) for grid in grids), block, optimize=True)
        if b == c:  # LAMMPS takes one triangle of the table
            clamped = 0.5 * (clamped + clamped.transpose(1, 0, 2))
        knots = [clamped_knots(*grid) for grid in grids]
        stops = [grid[1] for grid in grids]
        lines += [header, f'3B {a} {b} {c} 0 3 uk']
        lines += [' '.join([*(repr(float(s)) for s in stops[::-1]), *(str(len(k)) for k in knots[::-1])])]
        lines += [text(k) for k in knots[::-1]]
        lines += [' '.join(str(size) for size in clamped.shape)]
        lines += [text(row) for row in clamped.reshape(-1, clamped.shape[2])]
        lines += ['#']
    with whole_file(path) as partial:
        partial.write_text('\n'.join(lines) + '\n')
    lost = [LOST_EVERYWHERE]
    if np.any(potential.one_body):
        energies = ', '.join(f'{s} {e:.6f} eV' for s, e in zip(potential.species, potential.one_body))
        lost.append(f'one-body energies ({energies}): add them to the energies of LAMMPS')
    starts = ', '.join(f'{a}-{b} {grid[0]:.3f} Å' for a, b, grid, _ in _pairs(potential))
    lost.append(f'the straight line below the first knot of each pair ({starts}): keep atoms farther apart')
    return lost


def write_json(potential, path) -> list[str]:
    """Write a potential in the JSON form of the UF3 package; returns what the format cannot carry."""
    coefficients = {s: float(e) for s, e in zip(potential.species, potential.one_body)}
    knots = {}
    for a, b, grid, c in _pairs(potential):
        coefficients[f'{a}-{b}'] = (to_clamped(*grid) @ c).tolist()
        knots[f'{a}-{b}'] = clamped_knots(*grid).tolist()
    for a, b, c, grids, block in _trios(potential):
        clamped = np.einsum('al,bm,cn,lmn->abc', *(to_clamped(*grid) for grid in grids), block, optimize=True)
        coefficients[f'{a}-{b}-{c}'] = clamped.tolist()
        knots[f'{a}-{b}-{c}'] = [clamped_knots(*grid).tolist() for grid in grids]
    content = {
        'coefficients': coefficients,
        'knots': knots,
        'knots_map': knots,
        'knot_strategy': 'linear',
        'offset_1b': True,
        'leading_trim': 0,
        'trailing_trim': 3,
        'element_list': list(potential.species),
        'degree': 3,
    }
    with whole_file(path) as partial:
        partial.write_text(json.dumps(content) + '\n')
    return [LOST_EVERYWHERE]


def _pairs(potential) -> Iterator:
    n = potential.pair_coefficients.shape[2] - 3
    for i, a in enumerate(potential.species):
        for j, b in enumerate(potential.species):
            if i <= j:
                grid = (float(potential.pair_start[i, j]), float(potential.pair_cutoff[i, j]), n)
                yield a, b, grid, potential.pair_coefficients[i, j]


def _trios(potential) -> Iterator:
    if not potential.trio_coefficients.any():
        return
    legs, thirds = potential.trio_coefficients.shape[3] - 3, potential.trio_coefficients.shape[5] - 3
    stop = potential.trio_cutoff
    for i, j, k in np.ndindex(*potential.trio_coefficients.shape[:3]):
        if j <= k:
            grids = (
                (float(potential.leg_start[i, j]), stop, legs),
                (float(potential.leg_start[i, k]), stop, legs),
                (float(potential.third_start[j, k]), 2 * stop, thirds),
            )
            yield (*(potential.species[t] for t in (i, j, k)), grids, potential.trio_coefficients[i, j, k])


def read_uf3(path) -> dict:
    """Arrays of an :class:`UltraFastPotential` from a LAMMPS ``.uf3`` file.

    Raises:
        InputError: not such a file, other units, knots or grids that cannot be represented, a missing or broken block.
    """
    try:
        lines = Path(path).read_text().splitlines()
    except UnicodeDecodeError:
        raise InputError(f'{path}: not a text file') from None
    pairs, trios = {}, {}
    at = 0

    def numbers(line: int, kind=float) -> list:
        try:
            return [kind(word) for word in lines[line].split()]
        except (ValueError, IndexError):
            raise InputError(f'{path}, line {line + 1}: numbers expected; the block is damaged or cut') from None

    while at < len(lines):
        if not lines[at].startswith('#UF3 POT'):
            if lines[at].strip() not in ('', '#'):
                raise InputError(f'{path}, line {at + 1}: expected a "#UF3 POT" header, found {lines[at][:40]!r}')
            at += 1
            continue
        if 'UNITS: metal' not in lines[at]:
            raise InputError(f'{path}, line {at + 1}: units must be "metal" (eV, Å)')
        words = lines[at + 1].split() if at + 1 < len(lines) else []
        where = f'{path}, line {at + 2}'
        if len(words) >= 4 and words[0] == '2B':
            knots, coefficients = np.array(numbers(at + 3)), np.array(numbers(at + 5))
            grid = _grid(knots, where)
            if len(coefficients) != grid[2] + 3 or not np.isfinite(coefficients).all():
                raise InputError(f'{where}: {len(coefficients)} coefficients for {len(knots)} knots, or NaN among them')
            pairs[tuple(words[1:3])] = (grid, from_clamped(*grid) @ coefficients)
            at += 6
        elif len(words) >= 5 and words[0] == '3B':
            grids = [_grid(np.array(numbers(at + 5 - a)), where) for a in range(3)]
            shape = tuple(numbers(at + 6, int))
            if shape != tuple(grid[2] + 3 for grid in grids):
                raise InputError(f'{where}: a table of {shape} does not fit its knots')
            rows = [numbers(at + 7 + row) for row in range(shape[0] * shape[1])]
            if any(len(row) != shape[2] for row in rows) or not np.isfinite(np.concatenate(rows)).all():
                raise InputError(f'{where}: the table of coefficients is cut, or has NaN')
            block = np.array(rows).reshape(shape)
            trios[tuple(words[1:4])] = (grids, _unclamped(grids, block))
            at += 7 + len(rows)
        else:
            raise InputError(f'{where}: expected "2B" or "3B" with species, found {" ".join(words)[:40]!r}')
    return _assemble(pairs, trios, {}, path)


def read_json(path) -> dict:
    """Arrays of an :class:`UltraFastPotential` from the JSON form of the UF3 package; raises as :func:`read_uf3`."""
    try:
        content = json.loads(Path(path).read_text())
        coefficients, knots = content['coefficients'], content['knots']
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f'{path}: not a potential of the UF3 package (no coefficients and knots in it)') from error
    pairs, trios, one_body = {}, {}, {}
    for name, values in coefficients.items():
        species = tuple(name.split('-'))
        where = f'{path}, {name}'
        values = np.array(values, float)
        if not np.isfinite(values).all():
            raise InputError(f'{where}: NaN or infinite coefficients')
        if len(species) == 1:
            one_body[name] = float(values)
            continue
        if name not in knots:
            raise InputError(f'{where}: has no knots')
        if len(species) == 2:
            grid = _grid(np.array(knots[name], float), where)
            if values.shape != (grid[2] + 3,):
                raise InputError(f'{where}: {len(values)} coefficients do not fit {len(knots[name])} knots')
            pairs[species] = (grid, from_clamped(*grid) @ values)
        else:
            grids = [_grid(np.array(k, float), where) for k in knots[name]]
            if values.shape != tuple(grid[2] + 3 for grid in grids):
                raise InputError(f'{where}: a table of {values.shape} does not fit its knots')
            trios[species] = (grids, _unclamped(grids, values))
    return _assemble(pairs, trios, one_body, path)


def _unclamped(grids, block) -> np.ndarray:
    return np.einsum('al,bm,cn,lmn->abc', *(from_clamped(*grid) for grid in grids), block, optimize=True)


def _assemble(pairs: dict, trios: dict, one_body: dict, path) -> dict:
    """Arrays by species in order of atomic number; grids must agree where the arrays share them."""
    names = {s for key in (*pairs, *trios) for s in key} | set(one_body)
    unknown = sorted(names - set(atomic_numbers))
    if not pairs or unknown:
        raise InputError(f'{path}: no pair potential in it' if not unknown else f'{path}: unknown element {unknown[0]!r}')
    species = tuple(sorted(names, key=lambda s: atomic_numbers[s]))
    s = len(species)

    def agreed(values, what):
        first = next(iter(values))
        if any(not math.isclose(first, value, abs_tol=1e-9) for value in values):
            raise InputError(f'{path}: {what} differ between blocks; only equal ones are known here')
        return first

    n = agreed([grid[2] for grid, _ in pairs.values()], 'numbers of pair knots')
    pair_start, pair_cutoff = np.zeros((s, s)), np.zeros((s, s))
    pair_coefficients = np.zeros((s, s, int(n) + 3))
    for i, j in np.ndindex(s, s):
        key = (species[i], species[j]) if (species[i], species[j]) in pairs else (species[j], species[i])
        if key not in pairs:
            raise InputError(f'{path}: the pair {species[i]}-{species[j]} is missing')
        (pair_start[i, j], pair_cutoff[i, j], _), pair_coefficients[i, j] = pairs[key]
    if not trios:
        trio_cutoff, legs, thirds = 0.5 * float(pair_cutoff.min()), 4, 8
    else:
        trio_cutoff = agreed([grid[1] for grids, _ in trios.values() for grid in grids[:2]], 'cut-offs of the legs')
        agreed([2 * trio_cutoff, *(grids[2][1] for grids, _ in trios.values())], 'cut-offs of the third side (twice the leg)')
        legs = agreed([grid[2] for grids, _ in trios.values() for grid in grids[:2]], 'numbers of leg knots')
        thirds = agreed([grids[2][2] for grids, _ in trios.values()], 'numbers of knots of the third side')
    leg_start = np.full((s, s), np.nan)
    third_start = np.full((s, s), np.nan)
    blocks = np.zeros((s, s, s, int(legs) + 3, int(legs) + 3, int(thirds) + 3))

    def place(array, a, b, value, what):
        for x, y in ((a, b), (b, a)):
            if not np.isnan(array[x, y]):
                agreed([array[x, y], value], f'{what} of {species[a]}-{species[b]}')
            array[x, y] = value

    for i, j, k in np.ndindex(s, s, s):
        if j > k or not trios:
            continue
        key = (species[i], species[j], species[k])
        swapped = key not in trios
        if swapped:
            key = (species[i], species[k], species[j])
        if key not in trios:
            raise InputError(f'{path}: the trio {species[i]}-{species[j]}-{species[k]} is missing')
        grids, block = trios[key]
        if swapped:
            grids, block = [grids[1], grids[0], grids[2]], block.transpose(1, 0, 2)
        place(leg_start, i, j, grids[0][0], 'first knots of the leg')
        place(leg_start, i, k, grids[1][0], 'first knots of the leg')
        place(third_start, j, k, grids[2][0], 'first knots of the third side')
        blocks[i, j, k] = block
    start = 0.5 * float(trio_cutoff)
    return {
        'species': species,
        'one_body': np.array([one_body.get(name, 0.0) for name in species]),
        'pair_start': pair_start,
        'pair_cutoff': pair_cutoff,
        'pair_coefficients': pair_coefficients,
        'trio_cutoff': float(trio_cutoff),
        'leg_start': np.where(np.isnan(leg_start), start, leg_start),
        'third_start': np.where(np.isnan(third_start), start, third_start),
        'trio_coefficients': blocks,
        # what was in the training data is not known: the first knot is the least that the potential was made for
        'closest_distance': np.maximum(pair_start, np.where(np.isnan(leg_start), 0.0, leg_start)),
    }
