"""Electric field gradients: tensor algebra, NMR parameters, λ-SOAP descriptors, the model and its fit."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiida_ufpnmr.engine.efg.fitting import fit_efg_model
    from aiida_ufpnmr.engine.efg.model import EfgModel
    from aiida_ufpnmr.engine.efg.settings import EfgSettings
    from aiida_ufpnmr.engine.efg.tensors import asymmetry, quadrupolar_coupling, quadrupolar_frequency

__all__ = ['EfgModel', 'EfgSettings', 'asymmetry', 'fit_efg_model', 'quadrupolar_coupling', 'quadrupolar_frequency']

#: Where each name is; the fit takes a while to import.
_MODULES = {'fit_efg_model': 'fitting', 'EfgModel': 'model', 'EfgSettings': 'settings'}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(f'{__name__}.{_MODULES.get(name, "tensors")}'), name)
