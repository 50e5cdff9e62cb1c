"""``ufpnmr label``."""

from __future__ import annotations

import click

from aiida_ufpnmr.engine.commands.options import options_of, with_options
from aiida_ufpnmr.engine.commands.shared import (
    COUNT,
    INPUT,
    OUTPUT,
    Command,
    Number,
    check_outputs,
    json_option,
    print_table,
    report,
    settings_option,
    warn,
)
from aiida_ufpnmr.engine.dft.gpaw_engine import PYTHON_VARIABLE, GpawEngine, GpawSettings, gpaw_settings
from aiida_ufpnmr.engine.dft.labelling import label_structures
from aiida_ufpnmr.engine.dft.labels import read_sources
from aiida_ufpnmr.engine.dft.protocols import DEFAULT_PROTOCOL, PROTOCOLS
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.settings import read_mapping, settings_from_mapping


@click.command('label', cls=Command, example='ufpnmr label frames.extxyz -o labels.extxyz --engine gpaw --jobs 2')
@click.argument('structures', type=INPUT, metavar='STRUCTURES')
@click.option(
    '-o', '--output', type=OUTPUT, required=True, metavar='OUT.extxyz', help='Where to write the labelled structures.'
)
@click.option('--engine', type=click.Choice(['gpaw']), default='gpaw', show_default=True, help='The DFT code.')
@click.option(
    '--protocol',
    type=click.Choice(PROTOCOLS),
    default=DEFAULT_PROTOCOL,
    show_default=True,
    help='Set of settings; what it costs and how accurate it is, the documentation says.',
)
@settings_option
@with_options(*options_of(GpawSettings, unset='of the protocol'))
@click.option(
    '--index', default=':', show_default=True, metavar='I', help='Which structures of the file: 0, -1, ::10, 5:20.'
)
@click.option('--config-type', metavar='NAME', help='Group of structures that name none.')
@click.option(
    '--min-success-fraction',
    type=Number(min=0, max=1),
    default=0.8,
    show_default=True,
    metavar='F',
    help='Share of the structures that must have got labels.',
)
@click.option(
    '--jobs',
    type=COUNT,
    default=1,
    show_default=True,
    metavar='N',
    help='Processes at a time: structures side by side first, then k-points of one, where GPAW has MPI.',
)
@click.option(
    '--python',
    'python',
    type=INPUT,
    metavar='PATH',
    help=f'The Python that has GPAW; else {PYTHON_VARIABLE}, else the first found.',
)
@json_option
def label(
    structures, output, engine, protocol, settings_path, index, config_type, min_success_fraction, jobs, python,
    json_path, **options,
):  # fmt: skip
    """Label structures with DFT: energy, forces, stress and the EFG tensor of every atom.

    STRUCTURES is any file that ASE reads, or an H5MD trajectory. Each structure is safe as soon as it is done: after a
    kill, the same command goes on where it was. A structure that is refused or fails is named, and the others go
    on.
    """
    check_outputs(output, json_path)
    changes = None
    if settings_path is not None:
        changes = read_mapping(settings_path, 'settings')
        settings_from_mapping(GpawSettings, changes, str(settings_path))  # so that a mistake names the file
    sources = read_sources(structures, index, config_type)
    elements = {symbol for source in sources for symbol in source.atoms.symbols}
    settings = gpaw_settings({**options, 'protocol': protocol}, changes, elements)
    results = label_structures(
        sources, GpawEngine(settings, python), output, cores=jobs, min_success_fraction=min_success_fraction
    )
    if len(results['refused']) == results['structures']:
        first = results['refused'][0]
        raise InputError(
            f'{structures}: every structure is refused, the first (structure '
            f'{first["source_row"]}) because: {first["reason"]}'
        )
    report({'protocol': protocol, **results}, json_path)
    for what in ('refused', 'failed'):
        warn(
            f'{entry["source_file"]}, structure {entry["source_row"]}: {what}: {entry["reason"]}'
            for entry in results[what]
        )
    seconds = results['timing']['wall_s_per_structure']
    print_table(
        [
            ['quantity', 'value'],
            ['structures', results['structures']],
            ['labelled', results['labelled']],
            ['of these, by an earlier run', results['labelled_before']],
            ['refused', len(results['refused'])],
            ['failed', len(results['failed'])],
            ['engine', ', '.join(results['engine_versions']) or '-'],
            ['seconds a structure', '-' if seconds is None else f'{seconds:.0f}'],
        ]
    )
    if not results['enough']:
        kept = f'; the labels there are stay in {output}.pieces' if results['labelled'] else ''
        raise click.ClickException(
            f'{output}: not written, since {results["labelled"]} of {results["structures"]} structures got labels and '
            f'{min_success_fraction:g} of them must{kept}'
        )
