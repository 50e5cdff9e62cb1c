"""Electric field gradients: tensor algebra, NMR parameters, λ-SOAP descriptors, the model and its fit."""

from aiida_ufpnmr.engine.efg.fitting import fit_efg_model
from aiida_ufpnmr.engine.efg.model import EfgModel
from aiida_ufpnmr.engine.efg.settings import EfgSettings
from aiida_ufpnmr.engine.efg.tensors import asymmetry, quadrupolar_coupling, quadrupolar_frequency

__all__ = ['EfgModel', 'EfgSettings', 'asymmetry', 'fit_efg_model', 'quadrupolar_coupling', 'quadrupolar_frequency']
