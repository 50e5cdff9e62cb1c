"""Active learning: the choice of the structures that would teach a model most."""

from aiida_ufpnmr.engine.active.selection import Candidate, Selection, disagreement, select_structures

__all__ = ['Candidate', 'Selection', 'disagreement', 'select_structures']
