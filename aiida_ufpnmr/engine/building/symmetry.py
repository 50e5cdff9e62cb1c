"""Symmetry of average crystals, found by spglib (Togo, Shinohara and Tanaka, Sci. Technol. Adv. Mater. Meth. 4, 2384822
(2024))."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import spglib
from scipy.spatial import KDTree

from aiida_ufpnmr.engine.crystals import Crystal
from aiida_ufpnmr.engine.errors import InputError

#: Sites that symmetry brings together within this (Å) are the same: files round coordinates to four digits or so.
SYMMETRY_TOLERANCE = 0.01


def kinds_of(crystal: Crystal) -> np.ndarray:
    """The kind (n,) of each site, counted from 0: sites of a kind have the same elements with the same shares."""
    contents = [tuple(sorted((e, round(share, 4)) for e, share in site.items())) for site in crystal.occupancies]
    numbers = {content: number for number, content in enumerate(dict.fromkeys(contents))}
    return np.array([numbers[content] for content in contents])


def _asked(of: Callable, crystal: Crystal, **options: bool) -> tuple[np.ndarray, Any]:
    """Places of the sites (n, 3) in units of the cell vectors, and what a function of spglib says of them."""
    places = crystal.positions @ np.linalg.inv(crystal.cell)
    cell = (crystal.cell.tolist(), places.tolist(), kinds_of(crystal).tolist())
    try:
        found = of(cell, symprec=SYMMETRY_TOLERANCE, **options)
    except spglib.SpglibError:
        found = None  # what versions before 2.8 return instead
    if found is None:
        raise InputError(f'{crystal.source}: its sites have no symmetry that spglib knows; correct them')
    return places, found


def primitive(crystal: Crystal) -> Crystal:
    """The same crystal in a primitive cell, not turned."""
    _, (cell, sites, kinds) = _asked(spglib.standardize_cell, crystal, to_primitive=True, no_idealize=True)
    contents = dict(zip(kinds_of(crystal).tolist(), crystal.occupancies))
    return Crystal(cell, sites @ cell, tuple(contents[kind] for kind in kinds), crystal.source)


def orbits_of(crystal: Crystal) -> np.ndarray:
    """The orbit (n,) of each site, counted from 0: sites that a symmetry of the average crystal brings together."""
    return np.unique(_asked(spglib.get_symmetry_dataset, crystal)[1].equivalent_atoms, return_inverse=True)[1]


def permutations_of(crystal: Crystal) -> np.ndarray:
    """Permutations of the sites (n_operations, n) by the symmetries of the average crystal, translations included.

    Site ``i`` comes to lie on site ``permutation[i]``.
    """
    places, found = _asked(spglib.get_symmetry_dataset, crystal)
    # twice, since the first makes one of the smallest negative numbers
    sites = KDTree(places % 1 % 1, boxsize=np.ones(3))
    moved = np.einsum('oab,ib->oia', found.rotations, places) + found.translations[:, None, :]
    return np.asarray(sites.query(moved % 1 % 1)[1])


def distinct(configurations: np.ndarray, permutations: np.ndarray, number: int) -> list[int]:
    """Rows of the first ``number`` configurations that no permutation turns into one before.

    Args:
        configurations: (n, n_sites) what sits on each site.
        permutations: (n_operations, n_sites) a group.
    """
    chosen: list[int] = []
    seen: set[bytes] = set()
    for row, configuration in enumerate(configurations):
        if len(chosen) < number and _digest(configuration) not in seen:
            chosen.append(row)
            seen |= {_digest(image) for image in configuration[permutations]}
    return chosen


def _digest(configuration: np.ndarray) -> bytes:
    return hashlib.blake2b(configuration.tobytes(), digest_size=16).digest()
