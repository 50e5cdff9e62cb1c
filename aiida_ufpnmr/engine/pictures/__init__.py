"""Pictures of structures: slices, and a view in three dimensions for a browser."""

from aiida_ufpnmr.engine.pictures.atom_values import AtomValues, read_atom_values
from aiida_ufpnmr.engine.pictures.slices import SliceSettings, plot_slice
from aiida_ufpnmr.engine.pictures.view import view_page

__all__ = ['AtomValues', 'SliceSettings', 'plot_slice', 'read_atom_values', 'view_page']
