"""``aiida-ufpnmr launch``."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_ufpnmr.calculations.resources import Resources
from aiida_ufpnmr.cli.shared import NODE_OR_FILE, load_code, load_or_store, with_profile
from aiida_ufpnmr.engine.analyses import ANALYSES
from aiida_ufpnmr.engine.commands.options import options_of
from aiida_ufpnmr.engine.commands.shared import INPUT, POSITIVE, Command, Duration, LazyGroup, print_table
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.settings import parameters_of, read_mapping
from aiida_ufpnmr.tools.profile import is_daemon_running, loaded_profile

if TYPE_CHECKING:
    from aiida.orm import WorkChainNode

PROTOCOLS = ('fast', 'balanced', 'stringent')
#: Codes that label structures.
DFT_CODES = ('castep', 'gpaw')
#: Analyses that a run of the dynamics does not have anyway.
CHOICES = tuple(name for name in ANALYSES if name not in ('acf', 'msd', 'hops'))
#: Columns that a reason may take in the table of the answer.
REASON_WIDTH = 44

#: The module of each command, and its help.
COMMANDS = {
    'pipeline': ('launch', 'Labelled structures to models, a trajectory, and a decay time.'),
    'dynamic-nmr': ('launch', 'A structure and two models to a trajectory and a decay time.'),
    'arrhenius': ('launch_arrhenius', 'Dynamic NMR at several temperatures, with replicas, to activation energies.'),
    'md': ('launch_md', 'A structure and a potential to a trajectory of any length, in as many jobs as it takes.'),
    'batch': (
        'launch_batch',
        'Structures, temperatures and replicas to many trajectories, or decay times, as one batch.',
    ),
    'barriers': ('launch_barriers', 'A trajectory and a potential to the barriers of single hops.'),
    'softness': ('launch_softness', 'Trajectories to the softness of ions, what goes with it, and barriers by it.'),
    'active-learning': ('launch_learning', 'Labels to better models, by labelling what they know least.'),
    'model-error': ('launch_model_error', 'Dynamic NMR with drawn models, for what the error of models does to it.'),
    'check-models': ('launch_check', 'Models to their errors on frames of a run of their own, which DFT labels.'),
    'new-material': ('launch_material', 'The crystal of a material to labels, models, and how fast its ions move.'),
    'label': ('launch_label', 'Structures to labelled structures, with CASTEP or GPAW.'),
}


@click.group('launch', cls=LazyGroup, package='aiida_ufpnmr.cli', commands=COMMANDS)
def launch():
    """Run a workflow here, or hand it to the daemon."""


@dataclass(frozen=True)
class Launch:
    """The way in which a workflow shall run, with the answers to the options that all commands share.

    Attributes:
        protocol: name of a set of inputs.
        from_file: inputs that differ from the protocol, nested as the inputs are, of the file of overrides.
        resources: what every job asks of its scheduler.
        daemon: submit to the daemon instead of running here.
        overrides_path: the file that overrides came from.
        options: such inputs that options of the command give, on top of those.
    """

    protocol: str
    from_file: dict[str, Any]
    resources: Resources
    daemon: bool
    overrides_path: Path | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def with_values(self, path: tuple[str, ...], **values: Any) -> Launch:
        """A copy whose options hold those ``values`` that are not ``None``, at the place that ``path`` leads to."""
        from aiida_ufpnmr.workflows.protocols import merged

        nested = {name: value for name, value in values.items() if value is not None}
        for name in reversed(path if nested else ()):
            nested = {name: nested}
        return replace(self, options=merged(self.options, nested))

    def run(self, workflow: Any, **inputs: Any) -> WorkChainNode | None:
        """Build the inputs, then submit and print the pk, or run and return the workflow, whether or not it ended well.

        Raises:
            InputError: an override or a value that the workflow refuses, or what no scheduler of its codes has.
        """
        from aiida_ufpnmr.workflows.protocols import merged

        computers = {code.computer.pk: code.computer for name, code in inputs.items() if name.endswith('code')}
        self.resources.check(computers.values(), mpi=inputs.get('engine') == 'castep')
        try:
            builder = self._builder(workflow, inputs, merged(self.from_file, self.options))
        except ValueError as error:
            raise InputError(self._with_file(str(error), workflow, inputs)) from error
        if self.daemon:
            click.echo(submit_to_daemon(builder).pk)
            return None
        from aiida_ufpnmr.cli.progress import run_with_progress

        return run_with_progress(builder)

    def _with_file(self, message: str, workflow: Any, inputs: dict[str, Any]) -> str:
        """A message with the name of the file of overrides, where nothing would be wrong without that."""
        if self.overrides_path is None:
            return message
        try:
            self._builder(workflow, inputs, self.options)
        except ValueError:
            return message
        return f'{self.overrides_path}: {message}'

    def _builder(self, workflow: Any, inputs: dict[str, Any], overrides: dict[str, Any]) -> Any:
        return workflow.get_builder_from_protocol(
            **inputs, protocol=self.protocol, overrides=overrides, options=self.resources
        )


def common_options(function: Callable) -> Callable:
    """The options that all workflows share, as the argument ``launch``: a :class:`Launch`."""

    @functools.wraps(function)
    def wrapped(*args, protocol, overrides_path, max_wall_time, scheduler_line, daemon, **kwargs):
        overrides = {} if overrides_path is None else read_mapping(overrides_path, 'overrides')
        asked = {name: kwargs.pop(name) for name in parameters_of(Resources)}
        if max_wall_time is not None:
            if asked['max_wallclock_hours'] is not None:
                raise InputError('--max-wall-time and --max-wallclock-hours are the same; give one of them')
            asked['max_wallclock_hours'] = max_wall_time / 3600
        resources = Resources(**asked, scheduler_line=scheduler_line)
        launch = Launch(protocol, overrides, resources, daemon, overrides_path)
        return function(*args, launch=launch, **kwargs)

    for option in (
        click.option(
            '--daemon', is_flag=True, help='Submit to the daemon and return; without it the workflow runs here.'
        ),
        click.option(
            '--max-wall-time',
            type=Duration(),
            metavar='TIME',
            help='The same with a unit, such as 23.5h or 30min; without one in seconds.',
        ),
        click.option(
            '--scheduler-line',
            multiple=True,
            metavar='LINE',
            help='A line for the head of the job script, as it is: "#SBATCH --constraint=zen4"; repeatable.',
        ),
        *reversed(options_of(Resources)),
        click.option(
            '--overrides',
            'overrides_path',
            type=INPUT,
            metavar='FILE.yaml',
            help='Inputs that differ from the protocol, nested as the inputs are.',
        ),
        click.option(
            '--protocol', type=click.Choice(PROTOCOLS), default='balanced', show_default=True, help='Set of inputs.'
        ),
    ):
        wrapped = option(wrapped)
    return with_profile(wrapped)


def keep_option(*path: str) -> Callable[[Callable], Callable]:
    """The option of workflows that make trajectories, below :func:`common_options`; ``path`` leads to the dynamics."""

    def decorated(function: Callable) -> Callable:
        @click.option(
            '--keep-trajectory',
            is_flag=True,
            help='Leave trajectories on the computer where they are made, each content once; analyses run there, and '
            'only what describes it and its hash come here. "aiida-ufpnmr trajectory" fetches and checks them.',
        )
        @functools.wraps(function)
        def wrapped(*args, launch: Launch, keep_trajectory: bool, **kwargs):
            chosen = launch.with_values((*path, 'metadata', 'options'), keep_trajectory=keep_trajectory or None)
            return function(*args, launch=chosen, **kwargs)

        return wrapped

    return decorated


temperature_option = click.option(
    '--temperature', type=POSITIVE, metavar='K', help="Temperature of the dynamics; the protocol's if not given."
)
ion_option = click.option(
    '--ion', metavar='NAME', help='Element or isotope whose EFG is learnt, such as Na or 6Li; Li if not given.'
)
index_option = click.option(
    '--index', type=int, metavar='I', help='Which structure of a file with several, counted from 0.'
)
potential_option = click.option(
    '--potential', required=True, metavar=NODE_OR_FILE, help='The potential: pk, UUID, label or file.'
)
efg_model_option = click.option(
    '--efg-model', metavar=NODE_OR_FILE, help='The EFG model, without which there is no NMR, but motion.'
)
followed_option = click.option(
    '--ion', metavar='ELEMENT', help='Element that is followed; that of the EFG model, or Li without one.'
)
engine_option = click.option(
    '--engine', type=click.Choice(DFT_CODES), required=True, help='The DFT code for the labels.'
)
label_code_option = click.option(
    '--label-code', metavar='CODE', help='What runs the DFT code. Default: castep@localhost or gpaw@localhost.'
)
code_option = click.option(
    '--code', 'code_label', default='ufpnmr@localhost', show_default=True, help='The command `ufpnmr` as a code.'
)


analyses_option = click.option(
    '--analysis',
    'analyses',
    multiple=True,
    type=click.Choice(CHOICES),
    metavar='NAME',
    help=f'Run this analysis of the trajectory, too; several times for several: {", ".join(CHOICES)}.',
)
sites_option = click.option(
    '--sites', 'sites_path', type=INPUT, metavar='FILE.cif', help='Sites between which "--analysis jumps" counts jumps.'
)
softness_option = click.option(
    '--softness-model', 'softness_path', type=INPUT, metavar='FILE.h5', help='Model that "--analysis softness" needs.'
)


@click.command(
    'pipeline',
    cls=Command,
    example='aiida-ufpnmr launch pipeline li3ps4-pbe-gpaw.extxyz --structure-index 14 --protocol fast',
)
@click.argument('dataset')
@click.option(
    '--structure-index',
    type=int,
    metavar='I',
    help='Start the dynamics from this structure of DATASET, counted from 0.',
)
@click.option(
    '--structure', 'structure_path', type=INPUT, metavar='FILE', help='Start the dynamics from this structure instead.'
)
@index_option
@ion_option
@code_option
@temperature_option
@analyses_option
@sites_option
@softness_option
@common_options
@keep_option('dynamic_nmr', 'md')
def pipeline(
    dataset: str,
    structure_index: int | None,
    structure_path: Path | None,
    index: int | None,
    ion: str | None,
    temperature: float | None,
    analyses: tuple[str, ...],
    sites_path: Path | None,
    softness_path: Path | None,
    code_label: str,
    launch: Launch,
) -> None:
    """Fit models to labelled structures DATASET (extended XYZ, or the pk of a data set), and find a decay time."""
    from aiida_ufpnmr.workflows.pipeline import PipelineWorkChain

    if (structure_index is None) == (structure_path is None):
        raise InputError('give either --structure-index or --structure, to say where the dynamics starts')
    if structure_path is None and index is not None:
        raise InputError('--index is for the file of --structure; --structure-index says which structure of DATASET')
    launch = launch.with_values(('dynamic_nmr', 'md', 'parameters'), temperature=temperature)
    node = _with_analyses(launch, ('dynamic_nmr',), analyses, sites_path, softness_path).run(
        PipelineWorkChain,
        code=load_code(code_label),
        dataset=load_or_store(dataset, 'labels'),
        structure=None if structure_path is None else load_or_store(str(structure_path), 'structure', index),
        structure_index=structure_index,
        ion=ion,
    )
    show_answer(node)


@click.command(
    'dynamic-nmr',
    cls=Command,
    example='aiida-ufpnmr launch dynamic-nmr beta.cif --potential 123 --efg-model 130 --protocol fast',
)
@click.argument('structure')
@potential_option
@efg_model_option
@followed_option
@index_option
@code_option
@temperature_option
@analyses_option
@sites_option
@softness_option
@common_options
@keep_option('md')
def dynamic_nmr(
    structure: str,
    potential: str,
    efg_model: str | None,
    ion: str | None,
    index: int | None,
    temperature: float | None,
    analyses: tuple[str, ...],
    sites_path: Path | None,
    softness_path: Path | None,
    code_label: str,
    launch: Launch,
) -> None:
    """Simulate STRUCTURE (a file that ASE reads, or the pk of a structure) with two models, and find a decay time."""
    from aiida_ufpnmr.workflows.dynamic_nmr import DynamicNmrWorkChain

    launch = launch.with_values(('md', 'parameters'), temperature=temperature)
    node = _with_analyses(launch, (), analyses, sites_path, softness_path).run(
        DynamicNmrWorkChain,
        code=load_code(code_label),
        structure=load_or_store(structure, 'structure', index),
        potential=load_or_store(potential, 'potential'),
        efg_model=None if efg_model is None else load_or_store(efg_model, 'efg-model'),
        ion=ion,
    )
    show_answer(node)


def _with_analyses(
    launch: Launch, path: tuple[str, ...], names: tuple[str, ...], sites: Path | None, softness: Path | None
) -> Launch:
    """A launch with analyses without parameters of their own, and the files that they read, below ``path``."""
    from aiida.orm import SinglefileData

    nodes = {}
    if sites is not None:
        from aiida_ufpnmr.engine.crystals import read_crystal  # takes a while to import

        read_crystal(sites)
        nodes['sites'] = SinglefileData(sites.resolve())
    if softness is not None:
        from aiida_ufpnmr.engine.softness.model import SoftnessModel

        SoftnessModel.load(softness)
        nodes['model'] = SinglefileData(softness.resolve())
    launch = launch.with_values((*path, 'analysis_files'), **nodes)
    return launch.with_values((*path, 'analyses'), **{name.replace('-', '_'): {} for name in names})


def stop_if_failed(node: WorkChainNode) -> None:
    """Leave with exit status 1 and the reason where a workflow did not end well."""
    from aiida_ufpnmr.workflows.subprocesses import reason

    if not node.is_finished_ok:
        raise click.ClickException(f'{reason(node)}; see "verdi process report {node.pk}"')


def submit_to_daemon(builder):
    """Submit to the daemon of the profile; :class:`InputError` if there is no broker, or no daemon runs."""
    from aiida.engine import submit
    from aiida.engine.daemon.client import get_daemon_client

    if loaded_profile().process_control_backend is None:
        raise InputError('this profile has no broker, so it cannot submit; leave --daemon out')
    if not is_daemon_running(get_daemon_client()):
        raise InputError('the daemon does not run; start it with "aiida-ufpnmr setup --daemon"')
    return submit(builder)


def show_answer(node: WorkChainNode | None) -> None:
    """Print the answer of a workflow that ended well, and leave with status 1 and the reason where one did not."""
    if node is not None:
        stop_if_failed(node)
        print_answer(node)


def print_answer(node: WorkChainNode) -> None:
    """Print the errors of the models on withheld structures, where there are some, and the answer."""
    from aiida_ufpnmr.tools.answer import answer_rows, error_rows

    errors = error_rows(node)
    if errors:
        print_table([('model', 'error on withheld structures', 'value'), *errors])
        click.echo()
    rows = [('quantity', 'value', '95 % interval')]
    for name, value, interval in answer_rows(node.outputs.tau.get_dict()):
        first, *others = textwrap.wrap(value, REASON_WIDTH) or ['']
        rows += [(name, first, interval), *(('', other, '') for other in others)]
    print_table(rows)
    click.echo(f'\nOpen it as a page with "aiida-ufpnmr report {node.pk} -o report".')
