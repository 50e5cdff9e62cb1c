"""Analyses of a trajectory: any that the engine lists, and the correlation functions under a name of their own."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping

from aiida.engine import CalcJobProcessSpec
from aiida.orm import Dict, SinglefileData, Str, to_aiida_type

from aiida_ufpnmr.calculations import command_line
from aiida_ufpnmr.calculations.base import UfpnmrCalculation, optional
from aiida_ufpnmr.data.trajectory import TrajectoryData
from aiida_ufpnmr.engine import analyses
from aiida_ufpnmr.engine.settings import parameters_of
from aiida_ufpnmr.engine.trajectories.frames import ReadingSettings

#: The analyses that `ufpnmr analyse` runs.
ANALYSES = tuple(name for name in analyses.ANALYSES if name != 'acf')

#: Inputs that become files which some analyses read.
FILES = {'sites': ('--sites', 'sites.cif'), 'model': ('--model', 'softness-model.h5')}
#: Those that an analysis cannot do without.
NEEDED_FILES = {'softness': 'model'}


def by_identifier(name: str) -> str | None:
    """The analysis whose name, with underscores for hyphens, this is; ``None`` where there is none."""
    return next((analysis for analysis in ANALYSES if analysis.replace('-', '_') == name), None)


def options_of(analysis: str) -> tuple[str, ...]:
    """Names of the settings of an analysis, which its parameters may hold; a file is an input of its own."""
    return tuple(name for name in parameters_of(analyses.get_analysis(analysis).Settings) if name not in FILES)


def files_of(analysis: str) -> tuple[str, ...]:
    """Names of the inputs that become files which an analysis reads."""
    known = parameters_of(analyses.get_analysis(analysis).Settings)
    return tuple(name for name in FILES if name in known)


def lacking(analysis: str, given: Container[str]) -> str | None:
    """What to say where the file that an analysis needs is not among those given by name."""
    needed = NEEDED_FILES.get(analysis)
    return None if needed is None or needed in given else f'{analysis} needs {needed}'


def parameter_validator(analysis: str) -> Callable[[Dict, object], str | None]:
    """A validator for the ``parameters`` of one analysis."""

    def validate(value: Dict, _) -> str | None:
        reason = command_line.refusal(f'analyse {analysis}', options_of(analysis), value.get_dict())
        return reason and f'{analysis}: {reason}'

    return validate


class TrajectoryAnalysis(UfpnmrCalculation):
    """An analysis: a trajectory in, results, a figure and an HDF5 file out."""

    INPUT_FILES = {'trajectory': ('', 'trajectory.h5')}
    OUTPUT_FILE = 'analysis.h5'
    OUTPUT = ('functions', SinglefileData, 'All arrays of the analysis, as HDF5.')
    HAS_FIGURE = True

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input('trajectory', valid_type=TrajectoryData, help='The trajectory.')


class AcfCalculation(TrajectoryAnalysis):
    """Correlation functions along a trajectory with EFG tensors, and their decay time (`ufpnmr acf`)."""

    ENTRY_POINT = 'ufpnmr.acf'
    COMMAND = 'acf'
    #: What files of other programs do not say: trajectories in the database do.
    NO_PARAMETERS = parameters_of(ReadingSettings)
    OUTPUT_FILE = 'acf.h5'


class AnalyseCalculation(TrajectoryAnalysis):
    """Any other analysis of a trajectory: displacement, hops, sites, or NMR observables (`ufpnmr analyse`)."""

    ENTRY_POINT = 'ufpnmr.analyse'
    COMMAND = 'analyse'
    INPUT_FILES = {**TrajectoryAnalysis.INPUT_FILES, **FILES}

    @classmethod
    def parameters_help(cls) -> str:
        return 'Options of `ufpnmr analyse NAME`, with underscores for hyphens; its `--help` lists them.'

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
        optional(spec.input, ('sites', SinglefileData, 'A CIF file of the sites between which `jumps` counts jumps.'))
        optional(spec.input, ('model', SinglefileData, 'A model of `ufpnmr fit-softness`, which `softness` needs.'))

    @classmethod
    def validate_inputs(cls, inputs: Mapping, context: object) -> str | None:
        """Refuse parameters and files that the chosen analysis does not take."""
        if 'analysis' not in inputs or 'parameters' not in inputs:
            return None  # exposed by a workflow, which has checked them
        analysis = inputs['analysis'].value
        for name in FILES:
            if name in inputs and name not in files_of(analysis):
                return f'{analysis} takes no {name}'
        return (
            lacking(analysis, inputs)
            or parameter_validator(analysis)(inputs['parameters'], None)
            or super().validate_inputs(inputs, context)
        )

    @classmethod
    def validate_parameters(cls, value: Dict, _) -> str | None:
        """Leave it to :func:`validate_together`, which knows the analysis."""
        return None

    @property
    def command(self) -> str:
        return f'{self.COMMAND} {self.inputs.analysis.value}'
