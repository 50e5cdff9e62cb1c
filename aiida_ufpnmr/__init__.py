"""Dynamic solid-state NMR of ion conductors from first principles."""

from aiida_ufpnmr.version import __version__

__all__ = ('__version__',)
