"""Labels from DFT codes: running them and reading their results."""

from aiida_ufpnmr.engine.dft.castep import CastepRun, read_castep
from aiida_ufpnmr.engine.dft.magres import read_magres, write_magres

__all__ = ['CastepRun', 'read_castep', 'read_magres', 'write_magres']
