"""Fit a model of EFG tensors."""

from __future__ import annotations

from aiida.engine import CalcJobProcessSpec

from aiida_ufpnmr.calculations.base import UfpnmrCalculation
from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.data.efg_model import EfgModelData


class FitEfgCalculation(UfpnmrCalculation):
    """Fits a symmetry-adapted model of the EFG of one species (`ufpnmr fit-efg`)."""

    ENTRY_POINT = 'ufpnmr.fit_efg'
    COMMAND = 'fit-efg'
    OPTIONS = ('species',)
    PARAMETERS_REQUIRED = True
    SETTINGS = 'aiida_ufpnmr.engine.efg:EfgSettings'
    OUTPUT_FILE = 'efg-model.h5'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input('dataset', valid_type=DatasetData, help='Structures with EFG tensors to fit to.')
        spec.input(
            'test_dataset',
            valid_type=DatasetData,
            required=False,
            help='Structures with EFG tensors for the errors; without them whole groups of `dataset` are withheld.',
        )
        spec.output('efg_model', valid_type=EfgModelData, required=False, help='The EFG model.')

    def file_arguments(self) -> list[str]:
        test = ['--test', 'test.extxyz'] if 'test_dataset' in self.inputs else []
        return ['dataset.extxyz', '-o', self.OUTPUT_FILE, *test]

    def input_files(self) -> dict[str, DatasetData]:
        files = {'dataset.extxyz': self.inputs.dataset}
        if 'test_dataset' in self.inputs:
            files['test.extxyz'] = self.inputs.test_dataset
        return files
