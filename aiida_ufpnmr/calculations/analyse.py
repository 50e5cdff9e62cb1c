"""Analyses of a trajectory."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiida.engine import CalcJobProcessSpec
from aiida.orm import Dict, SinglefileData, Str, to_aiida_type

from aiida_ufpnmr.calculations import command_line
from aiida_ufpnmr.calculations.base import UfpnmrCalculation
from aiida_ufpnmr.data.trajectory import TrajectoryData

COMMON = ('species', 'skip_ps', 'reference')
OF_TENSORS = ('species', 'isotope', 'skip_ps')

#: The options of each analysis.
ANALYSES = {
    'msd': (*COMMON, 'window', 'bootstrap', 'seed'),
    'hops': (*COMMON, 'window_ps', 'threshold_angstrom', 'residence_ps', 'by_site'),
    'sites': (
        *COMMON,
        'anion',
        'radius_angstrom',
        'width_angstrom',
        'boundary',
        'margin',
        'window_ps',
        'residence_ps',
        'isotope',
        'field',
    ),
    'orientations': (*OF_TENSORS, 'field', 'convention', 'bins', 'by_site'),
    'microstructure': (
        *OF_TENSORS,
        'grain_nm',
        'diffusion',
        'temperature',
        'activation_energy_ev',
        'temperatures',
        'structure',
        'boundary_nm',
        'size_spread',
        'glass_fraction',
        'glass_diffusion_ratio',
        'glass_tau_ns',
        'mixing_nm',
        'measured_ms',
        'walkers',
        'seed',
    ),
    'relaxation': (
        *OF_TENSORS,
        'non_negative',
        'rule',
        'strength',
        'points',
        'first_lag_ps',
        'larmor_mhz',
        'bootstrap',
        'seed',
    ),
    'spectrum': (*OF_TENSORS, 'average', 'field_tesla', 'mas_khz', 'broadening_khz'),
}


def parameter_validator(analysis: str) -> Callable[[Dict, object], str | None]:
    """A validator for the ``parameters`` of one analysis."""

    def validate(value: Dict, _) -> str | None:
        parameters = value.get_dict()
        arguments = ['analyse', analysis, 'TRAJECTORY', *command_line.options(parameters)]
        return command_line.refusal(ANALYSES[analysis], parameters, arguments)

    return validate


def validate_together(inputs: Mapping, _) -> str | None:
    """Refuse parameters that the chosen analysis does not take."""
    if 'analysis' not in inputs or 'parameters' not in inputs:
        return None  # exposed by a workflow, which has checked them
    return parameter_validator(inputs['analysis'].value)(inputs['parameters'], None)


class AnalyseCalculation(UfpnmrCalculation):
    """One analysis of a trajectory: displacement, hops, sites, or what NMR sees of them (`ufpnmr analyse`)."""

    ENTRY_POINT = 'ufpnmr.analyse'
    COMMAND = 'analyse'
    OPTIONS = tuple(dict.fromkeys(name for options in ANALYSES.values() for name in options))
    OUTPUT_FILE = 'analysis.h5'
    HAS_FIGURE = True

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input(
            'analysis',
            valid_type=Str,
            serializer=to_aiida_type,
            validator=lambda value, _: (
                None if value.value in ANALYSES else f'analysis must be one of {", ".join(ANALYSES)}'
            ),
            help=f'Which analysis: {", ".join(ANALYSES)}.',
        )
        spec.inputs.validator = validate_together
        spec.input('trajectory', valid_type=TrajectoryData, help='The trajectory.')
        spec.output(
            'functions', valid_type=SinglefileData, required=False, help='What was computed along time, as HDF5.'
        )

    @classmethod
    def validate_parameters(cls, value: Dict, _) -> str | None:
        """Refuse parameters that no analysis would take."""
        refusals = [parameter_validator(analysis)(value, None) for analysis in ANALYSES]
        return None if None in refusals else refusals[0]

    def file_arguments(self) -> list[str]:
        return [self.inputs.analysis.value, 'trajectory.h5', '-o', self.OUTPUT_FILE]

    def input_files(self) -> dict[str, SinglefileData]:
        return {'trajectory.h5': self.inputs.trajectory}
