"""Universal potentials that can guide the first runs of a material that has no potential of its own yet.

None is part of this package, and none labels anything: they lead atoms to places, and DFT says what holds there.
SevenNet-0: Y. Park et al., J. Chem. Theory Comput. 20, 4857 (2024); CHGNet: B. Deng et al., Nat. Mach. Intell. 5, 1031
(2023).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, NamedTuple

from ase.calculators.calculator import Calculator

from aiida_ufpnmr.engine.errors import InputError, one_line


class Guide(NamedTuple):
    """Where the calculator of a universal potential is: package, module, class, and its arguments."""

    package: str
    module: str
    calculator: str
    arguments: Mapping[str, Any]


#: By the names that users know.
GUIDES = {
    'chgnet': Guide('chgnet', 'chgnet.model.dynamics', 'CHGNetCalculator', {}),
    'sevennet-0': Guide('sevenn', 'sevenn.calculator', 'SevenNetCalculator', {'model': '7net-0'}),
}


def guide_calculator(name: str) -> tuple[Calculator, dict[str, str]]:
    """The calculator of a universal potential, and the version of its package by its name.

    Raises:
        InputError: the package is not installed, or its potential cannot be loaded.
    """
    guide = GUIDES[name]
    try:
        module = importlib.import_module(guide.module)
    except ImportError as error:
        raise InputError(
            f'the guide {name} needs the package {guide.package}, which cannot be imported ({one_line(error)}); '
            "pip install 'aiida-ufpnmr[guide]' brings it, or leave --guide out"
        ) from error
    try:
        return getattr(module, guide.calculator)(**guide.arguments), {guide.package: version(guide.package)}
    except Exception as error:  # what is missing, a file or a network, differs by package
        raise InputError(f'the guide {name} cannot be loaded: {one_line(error)}; mend {guide.package}') from error
