"""``aiida-ufpnmr launch``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from aiida_ufpnmr.cli.shared import is_daemon_running, load_code, load_node, with_profile
from aiida_ufpnmr.engine.commands.shared import INPUT, POSITIVE, Command, Duration, LazyGroup, print_table
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_input
from aiida_ufpnmr.engine.settings import read_mapping

PROTOCOLS = ('fast', 'balanced', 'stringent')


#: Where each workflow's command lives, and what it does.
COMMANDS = {
    'pipeline': ('launch', 'Labelled structures to models, a trajectory, and a decay time.'),
    'dynamic-nmr': ('launch', 'A structure and two models to a trajectory and a decay time.'),
    'md': ('launch_md', 'A structure and a potential to a trajectory of any length, in as many jobs as it takes.'),
    'active-learning': ('launch_learning', 'Labels to better models, by labelling what they know least.'),
    'label': ('launch_label', 'Structures to labelled structures, with CASTEP or GPAW.'),
}


@click.group('launch', cls=LazyGroup, package='aiida_ufpnmr.cli', commands=COMMANDS)
def launch():
    """Run a workflow here, or hand it to the daemon."""


def common_options(function: Callable) -> Callable:
    """The options that all workflows share."""
    for option in reversed(
        (
            click.option(
                '--protocol', type=click.Choice(PROTOCOLS), default='balanced', show_default=True, help='Set of inputs.'
            ),
            click.option(
                '--overrides',
                'overrides_path',
                type=INPUT,
                metavar='FILE.yaml',
                help='Inputs that differ from the protocol, nested as the inputs are.',
            ),
            click.option(
                '--max-wall-time',
                type=Duration(),
                metavar='TIME',
                help='Time limit of each calculation, such as 23.5h, for a scheduler; without a unit in seconds.',
            ),
            click.option(
                '--daemon', is_flag=True, help='Submit to the daemon and return; without it the workflow runs here.'
            ),
        )
    ):
        function = option(function)
    return with_profile(function)


def launch_options(function: Callable) -> Callable:
    """The options of workflows that run dynamics."""
    for option in (
        click.option(
            '--temperature',
            type=POSITIVE,
            metavar='K',
            help="Temperature of the dynamics; the protocol's if not given.",
        ),
        click.option(
            '--code', 'code_label', default='ufpnmr@localhost', show_default=True, help='The code that runs the steps.'
        ),
    ):
        function = option(function)
    return common_options(function)


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
@launch_options
def pipeline(
    dataset,
    structure_index,
    structure_path,
    protocol,
    temperature,
    overrides_path,
    code_label,
    max_wall_time,
    daemon,
):
    """Labelled structures DATASET (extended XYZ, or the pk of a data set) to models, a trajectory, and a decay time."""
    from aiida_ufpnmr.workflows.pipeline import PipelineWorkChain

    overrides = read_overrides(overrides_path)
    if temperature is not None:
        overrides = with_value(overrides, ('dynamic_nmr', 'md', 'parameters', 'temperature'), temperature)
    if (structure_index is None) == (structure_path is None):
        raise InputError('give either --structure-index or --structure, to say where the dynamics starts')
    start(
        PipelineWorkChain,
        daemon,
        code=load_code(code_label),
        dataset=load_dataset(dataset),
        structure=None if structure_path is None else load_structure(str(structure_path)),
        structure_index=structure_index,
        protocol=protocol,
        overrides=overrides,
        options=options(max_wall_time),
    )


@click.command(
    'dynamic-nmr',
    cls=Command,
    example='aiida-ufpnmr launch dynamic-nmr beta.cif --potential 123 --efg-model 130 --protocol fast',
)
@click.argument('structure')
@click.option('--potential', required=True, metavar='NODE', help='The potential: pk, UUID or label.')
@click.option('--efg-model', required=True, metavar='NODE', help='The EFG model: pk, UUID or label.')
@launch_options
def dynamic_nmr(
    structure, potential, efg_model, protocol, temperature, overrides_path, code_label, max_wall_time, daemon
):
    """STRUCTURE (a file that ASE reads, or the pk of a structure) and two models to a trajectory and a decay time."""
    from aiida_ufpnmr.data import EfgModelData, PotentialData
    from aiida_ufpnmr.workflows.dynamic_nmr import DynamicNmrWorkChain

    overrides = read_overrides(overrides_path)
    if temperature is not None:
        overrides = with_value(overrides, ('md', 'parameters', 'temperature'), temperature)
    start(
        DynamicNmrWorkChain,
        daemon,
        code=load_code(code_label),
        structure=load_structure(structure),
        potential=load_node(potential, PotentialData),
        efg_model=load_node(efg_model, EfgModelData),
        protocol=protocol,
        overrides=overrides,
        options=options(max_wall_time),
    )


def start(workflow, daemon: bool, **inputs) -> None:
    """Build the inputs, then submit, or run and print the answer.

    Raises:
        InputError: an override or a value that the workflow refuses.
    """
    node = run_or_submit(workflow, daemon, **inputs)
    if node is not None:
        stop_if_failed(node)
        print_answer(node)


def run_or_submit(workflow, daemon: bool, **inputs):
    """Build the inputs, then submit and print the pk, or run: the workflow that ran to its end, well or not.

    Raises:
        InputError: an override or a value that the workflow refuses.
    """
    try:
        builder = workflow.get_builder_from_protocol(**inputs)
    except ValueError as error:
        raise InputError(str(error)) from error
    if daemon:
        click.echo(submit_to_daemon(builder).pk)
        return None
    from aiida_ufpnmr.cli.progress import run_with_progress

    return run_with_progress(builder)


def stop_if_failed(node) -> None:
    """Leave with exit status 1 and the reason where a workflow did not end well."""
    from aiida_ufpnmr.workflows.dynamic_nmr import reason

    if not node.is_finished_ok:
        raise click.ClickException(f'{reason(node)}; see "verdi process report {node.pk}"')


def submit_to_daemon(builder):
    """Submit to the daemon of the profile; :class:`InputError` if there is no broker, or no daemon runs."""
    from aiida.engine import submit
    from aiida.engine.daemon.client import get_daemon_client
    from aiida.manage import get_manager

    if get_manager().get_profile().process_control_backend is None:
        raise InputError('this profile has no broker, so it cannot submit; leave --daemon out')
    if not is_daemon_running(get_daemon_client()):
        raise InputError('the daemon does not run; start it with "aiida-ufpnmr setup --daemon"')
    return submit(builder)


def print_answer(node) -> None:
    """The errors of the models on withheld structures, where there are some, and what was found."""
    from aiida_ufpnmr.tools.answer import answer_rows, error_rows

    errors = error_rows(node)
    if errors:
        print_table([('model', 'error on withheld structures', 'value'), *errors])
        click.echo()
    print_table([('quantity', 'value', '95 % interval'), *answer_rows(node.outputs.tau.get_dict())])
    click.echo(f'\nOpen it as a page with "aiida-ufpnmr report {node.pk} -o report".')


def read_overrides(path: Path | None) -> dict[str, Any]:
    """Overrides from a YAML file; :class:`InputError` if it is none."""
    if path is None:
        return {}
    return read_mapping(path, 'overrides')


def with_value(mapping: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """``mapping`` with ``value`` at a nested place; the argument is not changed."""
    from aiida_ufpnmr.workflows.protocols.mixin import merged

    for name in reversed(path):
        value = {name: value}
    return merged(mapping, value)


def options(max_wall_time: float | None) -> dict[str, Any]:
    """``metadata.options`` of all calculations."""
    return {} if max_wall_time is None else {'max_wallclock_seconds': round(max_wall_time)}


def load_dataset(given: str):
    """A data set by file, pk, UUID or label; a file that is stored already, with the same rows, is used again."""
    from aiida_ufpnmr.data import DatasetData

    if not Path(given).exists() and Path(given).suffix == '':
        return load_node(given, DatasetData)
    return stored_once(DatasetData(Path(check_input(given, 'data set')).absolute()), Path(given).name)


def stored_once(node, label: str):
    """A data set that is stored already, with the same rows, or this one, stored with a label."""
    from aiida.orm import QueryBuilder

    for stored in QueryBuilder().append(type(node), filters={'attributes.sha256': node.sha256}).all(flat=True):
        if stored.rows == node.rows:
            return stored
    node.label = label
    return node.store()


def load_structure(given: str):
    """A structure by file, pk, UUID or label."""
    from aiida.orm import StructureData

    from aiida_ufpnmr.engine.dataset import read_structure

    if not Path(given).exists() and Path(given).suffix == '':
        return load_node(given, StructureData)
    return StructureData(ase=read_structure(given), label=Path(given).name)
