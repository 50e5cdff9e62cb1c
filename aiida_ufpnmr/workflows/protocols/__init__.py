"""Protocols: sets of inputs by name, in YAML files beside this module, one for each WorkChain."""

from aiida_ufpnmr.workflows.protocols.mixin import ProtocolMixin, merged, of_all

__all__ = ('ProtocolMixin', 'merged', 'of_all')
