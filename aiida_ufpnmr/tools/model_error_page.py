"""The page of dynamic NMR with drawn models: the answer of the fitted ones, and what their error does to it."""

from __future__ import annotations

from aiida.orm import WorkChainNode

from aiida_ufpnmr.tools.answer import model_error_rows
from aiida_ufpnmr.tools.dynamic_nmr_page import dynamic_nmr_page


def model_error_page(node: WorkChainNode) -> tuple[str, dict[str, bytes]]:
    """The page of dynamic NMR, with quantities over the drawn models."""
    return dynamic_nmr_page(node, 'model_error.html', drawn=model_error_rows(node.outputs.model_error))
