"""What runs beside a DFT code: reading its results."""

from aiida_ufpnmr.engine.dft.magres import read_magres, write_magres

__all__ = ['read_magres', 'write_magres']
