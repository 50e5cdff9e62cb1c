"""Active learning: which structures a model would learn most from."""

from aiida_ufpnmr.engine.active.selection import Candidate, Selection, disagreement, select_structures

__all__ = ['Candidate', 'Selection', 'disagreement', 'select_structures']
