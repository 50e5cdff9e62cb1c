"""Fit an ultra-fast potential."""

from __future__ import annotations

from aiida.engine import CalcJobProcessSpec

from aiida_ufpnmr.calculations.base import UfpnmrCalculation
from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.data.potential import PotentialData


class FitPotentialCalculation(UfpnmrCalculation):
    """Fits an ultra-fast potential to DFT energies, forces and stresses (`ufpnmr fit-potential`)."""

    ENTRY_POINT = 'ufpnmr.fit_potential'
    COMMAND = 'fit-potential'
    SETTINGS = 'aiida_ufpnmr.engine.ufp:PotentialSettings'
    OUTPUT_FILE = 'potential.h5'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input('dataset', valid_type=DatasetData, help='Labelled structures to fit to.')
        spec.input(
            'test_dataset',
            valid_type=DatasetData,
            required=False,
            help='Labelled structures for the errors; without them whole groups of `dataset` are withheld.',
        )
        spec.output('potential', valid_type=PotentialData, required=False, help='The potential.')

    def file_arguments(self) -> list[str]:
        test = ['--test', 'test.extxyz'] if 'test_dataset' in self.inputs else []
        return ['dataset.extxyz', '-o', self.OUTPUT_FILE, *test]

    def input_files(self) -> dict[str, DatasetData]:
        files = {'dataset.extxyz': self.inputs.dataset}
        if 'test_dataset' in self.inputs:
            files['test.extxyz'] = self.inputs.test_dataset
        return files
