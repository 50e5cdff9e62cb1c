"""Units of length and time by the names that files of other programs give them."""

from __future__ import annotations

from ase.units import Bohr

#: Å in a unit.
ANGSTROM = {'angstrom': 1.0, 'angstroms': 1.0, 'ang': 1.0, 'a': 1.0, 'å': 1.0, 'nm': 10.0, 'nanometer': 10.0,
            'pm': 0.01, 'bohr': Bohr, 'm': 1e10}  # fmt: skip
#: fs in a unit.
FEMTOSECONDS = {'fs': 1.0, 'femtosecond': 1.0, 'ps': 1e3, 'picosecond': 1e3, 'ns': 1e6, 'nanosecond': 1e6,
                'us': 1e9, 's': 1e15, 'as': 1e-3}  # fmt: skip
