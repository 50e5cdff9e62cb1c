"""The ion whose NMR is asked for: its element, its isotope, and whether there is an EFG to follow at all."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, NamedTuple

from ase.data import chemical_symbols

from aiida_ufpnmr.engine.efg.isotopes import get_isotope, spin_half
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.workflows.protocols import merged

#: The ion of all workflows that do not say which.
USUAL_ION = 'Li'


class Ion(NamedTuple):
    """An ion.

    Attributes:
        species: its element.
        isotope: as the settings of a fit name it; ``None`` for the one that stands for the element.
        spin_half: the isotope of spin 1/2 that is meant, which has no quadrupole moment; ``None`` for all others.
    """

    species: str
    isotope: str | None
    spin_half: str | None


def ion_of(name: str, elements: Collection[str], isotope: str | None = None) -> Ion:
    """The ion called ``name``: an element, or an isotope such as ``6Li``, ``1H`` or ``115In:770:4.5``.

    Args:
        elements: of the structures, one of which it must be.
        isotope: as the settings of a fit name it, where they do.

    Raises:
        InputError: no element of the structures, or one of which no moment is known.
    """
    species = re.sub(r'^\d+|:.*', '', name)
    if species not in chemical_symbols[1:] or species not in elements:
        raise InputError(
            f'the structures hold no {name!r}, only {", ".join(sorted(elements))}; say whose NMR is meant (--ion)'
        )
    given = isotope or (None if name == species else name)
    half = spin_half(given or species)
    if half is None:
        get_isotope(given or species)
    return Ion(species, given, half)


def with_ion(inputs: dict[str, Any], name: str | None, elements: Collection[str]) -> dict[str, Any]:
    """Inputs whose ``fit_efg`` is of an ion, and gone where that has no quadrupole moment.

    Args:
        inputs: with an entry ``fit_efg``; the species that it names, if any, is the ion where ``name`` is ``None``.
        name: see :func:`ion_of`.
        elements: of the structures.
    """
    fit = inputs['fit_efg']
    named = fit.get('parameters', {}).get('species')
    ion = ion_of(name or named or USUAL_ION, elements, (fit.get('settings') or {}).get('isotope'))
    if ion.spin_half:
        return {key: value for key, value in inputs.items() if key != 'fit_efg'}
    settings = {'settings': {'isotope': ion.isotope}} if ion.isotope else {}
    return merged(inputs, {'fit_efg': {'parameters': {'species': ion.species}, **settings}})
