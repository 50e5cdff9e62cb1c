"""Labels from DFT codes: running them and reading their results."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiida_ufpnmr.engine.dft.castep import CastepRun, read_castep
    from aiida_ufpnmr.engine.dft.magres import read_magres, write_magres

__all__ = ['CastepRun', 'read_castep', 'read_magres', 'write_magres']


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    module = 'magres' if name.endswith('_magres') else 'castep'  # each takes a while to import
    return getattr(importlib.import_module(f'{__name__}.{module}'), name)
