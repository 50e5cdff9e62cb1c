"""``aiida-ufpnmr launch label``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aiida_ufpnmr.cli.launch import DFT_CODES, Launch, common_options, stop_if_failed
from aiida_ufpnmr.cli.shared import is_node, load_code, load_node
from aiida_ufpnmr.engine.commands.shared import COUNT, OUTPUT, Command, Number, check_outputs, print_table, warn
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import whole_file


@click.command(
    'label', cls=Command, example='aiida-ufpnmr launch label frames.extxyz --engine castep --code castep@cluster'
)
@click.argument('structures')
@click.option('--engine', type=click.Choice(DFT_CODES), required=True, help='The DFT code.')
@click.option(
    '--code',
    'code_label',
    metavar='CODE',
    help='CASTEP, or the command `ufpnmr` where there is GPAW. Default: castep@localhost or gpaw@localhost.',
)
@click.option(
    '--index', default=':', show_default=True, metavar='I', help='Which structures of a file: 0, -1, ::10, 5:20.'
)
@click.option('--config-type', metavar='NAME', help='Group of structures that name none.')
@click.option(
    '--min-success-fraction',
    type=Number(min=0, max=1),
    metavar='F',
    help='Share of the structures that must get labels; 0.8 if not given.',
)
@click.option('--max-concurrent', type=COUNT, metavar='N', help='How many jobs run at a time; 20 if not given.')
@click.option('--batch-size', type=COUNT, metavar='N', help='How many structures a job of GPAW labels; 8 if not given.')
@click.option('--label-again', is_flag=True, help='Label also what this profile has labels of, with the same settings.')
@click.option(
    '-o', '--output', type=OUTPUT, metavar='OUT.extxyz', help='Write the labelled structures to a file as well.'
)
@common_options
def label(
    structures: str,
    engine: str,
    code_label: str | None,
    index: str,
    label_again: bool,
    output: Path | None,
    launch: Launch,
    **chosen: Any,
) -> None:
    """Label STRUCTURES (a file that ASE reads, an H5MD trajectory, or the pk of a data set or structure) with DFT.

    Energy, forces, stress and EFG tensors. Structures that DFT would choke on are left out with a reason; those that
    are labelled already, with the same settings, are taken from where they are; one that fails stops no others.
    """
    from aiida_ufpnmr.workflows.label import LabelWorkChain

    if launch.daemon and output is not None:
        raise InputError(
            '--output needs the labels, which the daemon has not made yet; leave it out, and export them later'
        )
    check_outputs(output)
    node = launch.with_values((), reuse=False if label_again else None, **chosen).run(
        LabelWorkChain,
        code=load_code(code_label or f'{engine}@localhost'),
        engine=engine,
        **load_subjects(structures, index),
    )
    if node is not None:
        print_labels(node, output)
        stop_if_failed(node)


def load_subjects(given: str, index: str) -> dict[str, Any]:
    """The structures to label: a stored node, or those of a file in a data set, those unfit for DFT apart."""
    from aiida.orm import StructureData

    from aiida_ufpnmr.data import DatasetData
    from aiida_ufpnmr.engine.dataset import bare
    from aiida_ufpnmr.engine.dft.labels import read_sources
    from aiida_ufpnmr.engine.dft.screening import unsuitable
    from aiida_ufpnmr.tools.files import stored_once

    if is_node(given):
        node = load_node(given, (DatasetData, StructureData))
        return {'dataset': node} if isinstance(node, DatasetData) else {'structures': [node]}
    good, bad = [], {}
    for source in read_sources(given, index):
        if unsuitable(source.atoms) is not None:
            bad[f'row_{source.row:06d}'] = _as_it_is(source.atoms)
            continue
        frame = bare(source.atoms)
        frame.info = {key: source.atoms.info[key] for key in ('config_type', 'step') if key in source.atoms.info}
        frame.info |= {'file': source.file, 'file_row': source.row}
        good.append(frame)
    subjects: dict[str, Any] = {'structures': bad} if bad else {}
    if good:
        node = DatasetData.of(good)
        node.label = Path(given).name
        subjects['dataset'] = stored_once(node)[0]
    return subjects


def _as_it_is(atoms):
    """A structure node of a structure that may be unfit for anything."""
    from aiida.orm import StructureData

    try:
        return StructureData(ase=atoms)
    except ValueError as error:
        raise InputError(
            f'a structure cannot be stored: {" ".join(str(error).split())}; correct or remove it'
        ) from error


def print_labels(node: Any, output: Path | None) -> None:
    """Print the number of structures that got labels, and the reasons of the others."""
    if 'results' in node.outputs:
        results = node.outputs.results.get_dict()
        for what in ('refused', 'failed'):
            warn(f'structure {entry["index"]} ({entry["name"]}): {what}: {entry["reason"]}' for entry in results[what])
        counts = {
            'structures': results['structures'],
            'labelled': results['labelled'],
            'of these, before': results['labelled_before'],
            'refused': len(results['refused']),
            'failed': len(results['failed']),
        }
        print_table([('quantity', 'value'), *((name, str(count)) for name, count in counts.items())])
    if 'dataset' in node.outputs:
        pk = node.outputs.dataset.pk
        click.echo(f'\nData set #{pk}; "aiida-ufpnmr launch pipeline {pk} --structure-index 0" fits to it.')
        if output is not None:
            with whole_file(output) as partial, node.outputs.dataset.open(mode='rb') as source:
                partial.write_bytes(source.read())
