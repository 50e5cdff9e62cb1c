"""Print the tables of a material from its archive, draw its figures, and write its pages; nothing is run.

::

    python examples/materials/results.py examples/archives/na3sbs4.aiida figures
"""

from __future__ import annotations

import argparse
from pathlib import Path

from aiida import load_profile, orm
from aiida.storage.sqlite_zip.backend import SqliteZipBackend

from aiida_ufpnmr.engine.commands.shared import print_table
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.tools.answer import answer_rows, check_rows
from aiida_ufpnmr.tools.dynamic_nmr_page import chosen_analyses, figures
from aiida_ufpnmr.tools.material_page import cost_rows, generation_rows
from aiida_ufpnmr.tools.queries import outputs_of
from aiida_ufpnmr.tools.report import write_report
from aiida_ufpnmr.tools.verification import open_archive


def all_of(label: str) -> list[orm.WorkChainNode]:
    """The workflows of a kind, in the order in which they were begun."""
    query = orm.QueryBuilder().append(orm.WorkChainNode, filters={'attributes.process_label': label}, tag='node')
    return query.order_by({'node': 'ctime'}).all(flat=True)


def main(archive: str, folder: str | None = None) -> None:
    """Print and draw what an archive holds.

    Raises:
        InputError: no archive, or not one of a material.
    """
    open_archive(archive).close()
    load_profile(SqliteZipBackend.create_profile(archive))
    launched = all_of('NewMaterialWorkChain')
    if not launched:
        raise InputError(f'{archive}: holds nothing of "aiida-ufpnmr launch new-material"')
    for node in launched:
        if 'material' not in node.outputs:  # one that was interrupted, whose labels another took over
            continue
        material = node.outputs.material.get_dict()
        print(f'\n{node.uuid}: {material["labels_tried"]} labels, {material["verdict"]}')
        print_table(generation_rows(node.outputs.history['generations']))
        print_table([('CPU hours of', ''), *cost_rows(node)])
        if folder is not None and 'tau' in node.outputs:
            write_report(node, Path(folder, 'report'))
    for node in all_of('ModelCheckWorkChain'):
        if 'potential_errors' in node.outputs:
            print(f'\n{node.uuid}: at {node.inputs.md.parameters["temperature"]:g} K')
            print_table(check_rows(node.outputs))
    for number, node in enumerate(all_of('DynamicNmrWorkChain')):
        if 'tau' not in node.outputs:
            continue
        outputs = outputs_of(node)
        print(f'\n{node.uuid}: {outputs.tau["atoms"]} atoms at {outputs.tau["temperature_mean_K"]:.0f} K')
        print_table([('quantity', 'value', '95 % interval'), *answer_rows(outputs.tau.get_dict())])
        shown = chosen_analyses(outputs)
        for one in shown:
            print(f'\n{one.title}: {one.result.headline}')
            print_table(one.result.table())
        if folder is not None:
            drawn = [(name, content) for name, _, content in figures(outputs)] + [
                (one.file, one.figure) for one in shown
            ]
            for name, content in drawn:
                path = Path(folder, f'{number}-{name}')
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            if node.caller is None:  # others are in the page of the launch
                write_report(node, Path(folder, f'{number}-report'))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('archive', metavar='FILE.aiida')
    parser.add_argument('folder', nargs='?', help='for the figures; none are drawn without it')
    given = parser.parse_args()
    try:
        main(given.archive, given.folder)
    except InputError as error:
        parser.error(str(error))
