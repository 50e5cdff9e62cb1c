"""Ultra-fast potentials: splines, fitting, evaluation."""

from aiida_ufpnmr.engine.ufp.calculator import UltraFastCalculator
from aiida_ufpnmr.engine.ufp.fitting import PotentialSettings, fit_potential
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential

__all__ = ['PotentialSettings', 'UltraFastCalculator', 'UltraFastPotential', 'fit_potential']
