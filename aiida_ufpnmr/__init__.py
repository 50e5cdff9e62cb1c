"""Dynamic solid-state NMR of ion conductors from first principles."""

__version__ = '0.1.0'
