"""Formal charges of ions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ase.data import chemical_symbols

from aiida_ufpnmr.engine.errors import InputError

#: Elements by the formal charge that they have in most ionic solids.
_COMMON = {
    1: 'H Li Na K Rb Cs Cu Ag Tl',
    2: 'Be Mg Ca Sr Ba Mn Fe Co Ni Zn Cd Hg Pb',
    3: 'B Al Ga In Sc Y La Ce Pr Nd Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Cr Bi',
    4: 'C Si Ge Sn Ti Zr Hf',
    5: 'P As Sb V Nb Ta',
    6: 'Mo W',
    -1: 'F Cl Br I',
    -2: 'O S Se Te',
    -3: 'N',
}
FORMAL_CHARGES = {element: charge for charge, elements in _COMMON.items() for element in elements.split()}


def read_charges(text: str) -> dict[str, float]:
    """Charges written as ``Li=1,S=-2``; :class:`InputError` where they are not."""
    charges: dict[str, float] = {}
    for part in text.split(','):
        element, _, charge = (piece.strip() for piece in part.partition('='))
        number = re.fullmatch(r'[+-]?\d(\.\d+)?', charge)
        if element not in chemical_symbols[1:] or element in charges or number is None:
            raise InputError(f'charges {text!r}: {part!r} is not the charge of one more element; write Li=1,S=-2')
        charges[element] = float(charge)
    return charges


def charges_of(elements: Iterable[str], given: Mapping[str, float]) -> dict[str, float]:
    """The formal charge of each element: as given, or the common one.

    Raises:
        InputError: a charge that is neither given nor known, or is given for an element that is not there.
    """
    elements = list(elements)
    unknown = [element for element in elements if element not in {**FORMAL_CHARGES, **given}]
    if unknown:
        raise InputError(
            f'no formal charge of {", ".join(unknown)} is known; give it, such as --charges {unknown[0]}=2'
        )
    absent = sorted(set(given) - set(elements))
    if absent:
        raise InputError(f'charges name {", ".join(absent)}, which the crystal does not have; leave it out')
    return {element: float(given.get(element, FORMAL_CHARGES.get(element, 0.0))) for element in elements}
