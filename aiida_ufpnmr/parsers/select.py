"""Parser of ``ufpnmr select``."""

from __future__ import annotations

from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.parsers.base import UfpnmrParser


class SelectParser(UfpnmrParser):
    """Attaches the structures that were chosen."""

    OUTPUT = 'dataset'
    KIND = DatasetData
