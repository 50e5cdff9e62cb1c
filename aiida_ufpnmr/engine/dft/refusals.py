"""Kinds of :class:`InputError` about the output of a DFT code that call for different remedies."""

from __future__ import annotations

from aiida_ufpnmr.engine.errors import InputError


class TruncatedOutput(InputError):
    """The file ends before the run did: the code was killed, or the copy is incomplete."""


class WrongStructure(InputError):
    """The file speaks of other atoms than those that were asked for."""


class MissingLabel(InputError):
    """The run ended well but does not hold what was asked for: no forces, no stress or no EFG tensors."""
