"""Quadrupolar isotopes: spin and nuclear quadrupole moment; and elements whose NMR knows no quadrupole moment.

Moments in millibarn after P. Pyykkö, Mol. Phys. 116, 1328 (2018), "Year-2017 nuclear quadrupole moments"; spins after
R. K. Harris et al., Pure Appl. Chem. 73, 1795 (2001).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from aiida_ufpnmr.engine.errors import InputError


@dataclass(frozen=True)
class Isotope:
    """A quadrupolar nucleus.

    Attributes:
        name: mass number and symbol, such as ``7Li``, and what differs from the table, see :func:`get_isotope`.
        spin: I, in units of ħ.
        moment_mb: nuclear quadrupole moment Q in millibarn.
    """

    name: str
    spin: float
    moment_mb: float

    @property
    def element(self) -> str:
        """Chemical symbol."""
        return re.sub(r'\d+|:.*', '', self.name)


#: The isotope that stands for its element comes first.
_TABLE = (
    ('2H', 1, 2.8578),
    ('7Li', 1.5, -40.1),
    ('6Li', 1, -0.808),
    ('9Be', 1.5, 52.88),
    ('11B', 1.5, 40.59),
    ('10B', 3, 84.59),
    ('14N', 1, 20.44),
    ('17O', 2.5, -25.58),
    ('23Na', 1.5, 104.0),
    ('25Mg', 2.5, 199.4),
    ('27Al', 2.5, 146.6),
    ('33S', 1.5, -69.4),
    ('35Cl', 1.5, -81.7),
    ('37Cl', 1.5, -64.4),
    ('39K', 1.5, 60.3),
    ('41K', 1.5, 73.4),
    ('43Ca', 3.5, -40.8),
    ('45Sc', 3.5, -220.0),
    ('51V', 3.5, -52.0),
    ('63Cu', 1.5, -220.0),
    ('65Cu', 1.5, -204.0),
    ('71Ga', 1.5, 107.0),
    ('69Ga', 1.5, 171.0),
    ('73Ge', 4.5, -196.0),
    ('81Br', 1.5, 257.9),
    ('79Br', 1.5, 308.7),
    ('87Rb', 1.5, 133.5),
    ('85Rb', 2.5, 276.0),
    ('87Sr', 4.5, 305.0),
    ('91Zr', 2.5, -176.0),
    ('93Nb', 4.5, -320.0),
    ('127I', 2.5, -688.22),
    ('133Cs', 3.5, -3.43),
)

ISOTOPES = {name: Isotope(name, float(spin), float(moment)) for name, spin, moment in _TABLE}

#: Isotopes of spin 1/2, which has no quadrupole moment: the one that NMR looks at of each element.
SPIN_HALF = (
    '1H', '3He', '13C', '15N', '19F', '29Si', '31P', '57Fe', '77Se', '89Y', '103Rh', '109Ag', '113Cd', '119Sn', '125Te',
    '129Xe', '169Tm', '171Yb', '183W', '187Os', '195Pt', '199Hg', '205Tl', '207Pb',
)  # fmt: skip


def spin_half(name: str) -> str | None:
    """The isotope of spin 1/2 that an isotope (``1H``) or an element without a quadrupolar one (``Ag``) means.

    ``None`` for all others: those of :data:`ISOTOPES`, and what is known to neither table.
    """
    if name in SPIN_HALF:
        return name
    quadrupolar = {isotope.element for isotope in ISOTOPES.values()}
    return next((one for one in SPIN_HALF if one.lstrip('0123456789') == name and name not in quadrupolar), None)


def get_isotope(name: str) -> Isotope:
    """The isotope called ``name`` (``7Li``), or the one that stands for an element (``Li``).

    A moment of your own, in millibarn, follows after a colon, and a spin after another: ``7Li:-40.8``, ``8Li:31.4:2``.
    An isotope that is not in the table needs both. The name keeps them.

    Raises:
        InputError: not in the table, or numbers that cannot be.
    """
    label, *own = str(name).split(':')
    unknown = Isotope(label, math.nan, math.nan)
    known = ISOTOPES.get(label) or next((i for i in ISOTOPES.values() if i.element == label), unknown)
    if not own and known is not unknown:
        return known
    if not own or len(own) > 2 or (known is unknown and (len(own) < 2 or not re.fullmatch(r'\d+[A-Z][a-z]?', label))):
        half = spin_half(label)
        none = f'{half} has spin 1/2 and none; ' if half else ''
        raise InputError(
            f'no isotope with a quadrupole moment known for {name!r} ({none}known are {", ".join(ISOTOPES)}); choose '
            'another species or isotope, or give a moment of your own as NAME:MILLIBARN:SPIN, such as 8Li:31.4:2'
        )
    try:
        moment, spin = float(own[0]), float(own[1]) if len(own) == 2 else known.spin
    except ValueError:
        moment = spin = math.nan
    if not (math.isfinite(moment) and moment and spin >= 1 and 2 * spin == int(2 * spin)):
        raise InputError(f'isotope {name!r}: give a moment in millibarn that is not 0, and a spin of 1, 1.5, 2, …')
    symbol = label if label[0].isdigit() else known.name
    return Isotope(':'.join([symbol, *own]), spin, moment)


def isotope_of(species: str, name: str | None) -> Isotope:
    """The isotope of an element that is called ``name``, or the one that stands for it.

    Raises:
        InputError: not in the table, or of another element.
    """
    isotope = get_isotope(name or species)
    if isotope.element != species:
        raise InputError(f'isotope {isotope.name} is none of {species}; choose one of it, or leave the setting out')
    return isotope
