"""The base of the fits of both models: the labelled structures that they learn from and are tested on."""

from __future__ import annotations

from collections.abc import Mapping

from aiida.engine import CalcJobProcessSpec
from aiida.orm import Data

from aiida_ufpnmr.calculations.base import UfpnmrCalculation, optional
from aiida_ufpnmr.data.dataset import DatasetData


class FitCalculation(UfpnmrCalculation):
    """Fits a model to labelled structures."""

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input('dataset', valid_type=DatasetData, help='Labelled structures to fit to.')
        text = 'Labelled structures for the errors; without them whole groups of `dataset` are withheld.'
        optional(spec.input, ('test_dataset', DatasetData, text))

    def file_arguments(self) -> list[str]:
        test = ['--test', 'test.extxyz'] if 'test_dataset' in self.inputs else []
        return ['dataset.extxyz', '-o', self.OUTPUT_FILE, *test]

    def input_files(self) -> Mapping[str, Data]:
        files = {'dataset.extxyz': self.inputs.dataset}
        if 'test_dataset' in self.inputs:
            files['test.extxyz'] = self.inputs.test_dataset
        return files
