"""The first structures of a material to label."""

from __future__ import annotations

from aiida.engine import CalcJobProcessSpec
from aiida.orm import StructureData

from aiida_ufpnmr.calculations.base import UfpnmrCalculation, validate_ordered
from aiida_ufpnmr.data.dataset import DatasetData


class DrawCalculation(UfpnmrCalculation):
    """Draws structures to label: rattled, strained, along runs of a universal potential (`ufpnmr build draw`)."""

    ENTRY_POINT = 'ufpnmr.draw'
    COMMAND = 'build draw'
    NO_PARAMETERS = ('index',)
    INPUT_FILES = {'structure': ('', 'structure.extxyz')}
    OUTPUT_FILE = 'drawn.extxyz'
    OUTPUT = ('dataset', DatasetData, 'The structures, without labels; those to withhold are in groups of that name.')

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input('structure', valid_type=StructureData, validator=validate_ordered, help='The cell to draw from.')
