"""Assignment of the ions of a CASTEP file to the sites of a structure.

CASTEP sorts the ions by species and numbers them within each, in the order of the .cell file. Names and numbers say
whose a row is; its place in the file does not. The coordinates that stand beside the names must then agree, so that the
output of another structure is never taken for this one's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.dft.castep import Ions
from aiida_ufpnmr.engine.dft.refusals import WrongStructure

#: How far (Å) an ion may lie from its site: far more than six printed digits leave out, far less than a bond.
TOLERANCE = 0.01


def species_of_each_site(symbols: Sequence[str], kinds: Sequence[str]) -> list[str]:
    """The names that species get in a .cell file: ``Li``, or ``Li:Li1`` where the kind has a name of its own."""
    return [symbol if kind == symbol else f'{symbol}:{kind}' for symbol, kind in zip(symbols, kinds)]


def site_of_each_ion(
    structure: Atoms, species: Sequence[str], ions: Ions, positions: np.ndarray | None, source: str
) -> np.ndarray:
    """Index of the site of each ion, (n,).

    Args:
        structure: n sites.
        species: of each site, as :func:`species_of_each_site` names them.
        ions: in the order of the file.
        positions: of the ions, (n, 3) in Å, to compare with those of the sites modulo the cell; ``None`` where the file
            has none beside these ions.
        source: what to call the file in messages.

    Raises:
        WrongStructure: other species or numbers, or ions in other places.
    """
    if len(ions) != len(structure):
        raise WrongStructure(f'{source}: holds {len(ions)} ions, but the structure has {len(structure)} sites')
    if len(set(ions.keys)) < len(ions):
        raise WrongStructure(f'{source}: names the same ion twice')
    # in full as CASTEP does, by their tags, or by element alone
    plain = [[name.partition(':')[part] or name for name in species] for part in (2, 0)]
    namings = [{key: site for site, key in enumerate(numbered(names))} for names in (species, *plain)]
    sites = next((naming for naming in namings if set(naming) == set(ions.keys)), None)
    if sites is None:
        name, number = next(key for key in ions.keys if key not in namings[0])
        raise WrongStructure(f'{source}: holds {name} {number}, which the structure has not')
    site = np.array([sites[key] for key in ions.keys], int)
    if positions is not None:
        check_places(structure, site, positions, ions, source)
    return site


def check_places(structure: Atoms, site: np.ndarray, positions: np.ndarray, ions: Ions, source: str) -> None:
    """Refuse ions that do not lie at their sites, modulo the cell."""
    shift = np.linalg.solve(structure.cell.array.T, (positions - structure.positions[site]).T).T
    distance = np.linalg.norm((shift - np.round(shift)) @ structure.cell.array, axis=1)
    if distance.max() > TOLERANCE:
        worst = int(distance.argmax())
        name, number = ions.keys[worst]
        raise WrongStructure(
            f'{source}: {name} {number} lies {distance[worst]:.3f} Å from its site; the file is of another structure'
        )


def check_cell(structure: Atoms, cell: np.ndarray | None, source: str) -> None:
    """Refuse the output for another cell."""
    if cell is None or abs(cell - structure.cell.array).max() > TOLERANCE:
        raise WrongStructure(f'{source}: has another cell than the structure; the file is of another one')


def numbered(species: Sequence[str]) -> list[tuple[str, int]]:
    """Each site's species with its number, counted from 1 within the species in the order of the sites."""
    counts: dict[str, int] = {}
    keys = []
    for name in species:
        counts[name] = counts.get(name, 0) + 1
        keys.append((name, counts[name]))
    return keys
