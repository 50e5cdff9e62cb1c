"""The base of the fits of both models: the labelled structures that they learn from and are tested on."""

from __future__ import annotations

from aiida.engine import CalcJobProcessSpec

from aiida_ufpnmr.calculations.base import UfpnmrCalculation, optional
from aiida_ufpnmr.data.dataset import DatasetData


class FitCalculation(UfpnmrCalculation):
    """Fits a model to labelled structures."""

    INPUT_FILES = {'dataset': ('', 'dataset.extxyz'), 'test_dataset': ('--test', 'test.extxyz')}

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input('dataset', valid_type=DatasetData, help='Labelled structures to fit to.')
        text = 'Labelled structures for the errors; without them whole groups of `dataset` are withheld.'
        optional(spec.input, ('test_dataset', DatasetData, text))
