"""Names and units of the series of a trajectory, whose whole layout ``h5md.py`` shows."""

from __future__ import annotations

POSITION = 'particles/all/position'
VELOCITY = 'particles/all/velocity'
EDGES = 'particles/all/box/edges'
#: The same as ``VELOCITY``, with a cadence of its own.
FAST_VELOCITY = 'per_atom/velocity'
FORCE = 'per_atom/force'
ENERGY = 'per_atom/energy'
LOG = 'log'
UNITS = {
    POSITION: 'Angstrom',
    VELOCITY: 'Angstrom fs-1',
    EDGES: 'Angstrom',
    FAST_VELOCITY: 'Angstrom fs-1',
    FORCE: 'eV Angstrom-1',
    ENERGY: 'eV',
}


def efg_group(species: str) -> str:
    """Name of the group that holds the EFG tensors of one species."""
    return f'particles/efg_{species}'


def error_series(species: str) -> str:
    """Name of the series with the expected errors of a component of the tensor, a.u."""
    return f'{efg_group(species)}/efg_error'


def grade_series(species: str) -> str:
    """Name of the series with the extrapolation grades."""
    return f'per_ion/efg_grade_{species}'
