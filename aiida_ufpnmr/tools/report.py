"""A finished workflow as one HTML page that needs nothing but a browser."""

from __future__ import annotations

import importlib
from pathlib import Path

from aiida.orm import WorkChainNode

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_output, whole_file

#: Module and function that make the page of a workflow, by an output that it alone has. Each is imported when it is
#: asked for, as their analyses take a while.
PAGES = {
    'material': ('material_page', 'new_material_page'),
    'model_error': ('model_error_page', 'model_error_page'),
    'tau': ('dynamic_nmr_page', 'dynamic_nmr_page'),
    'arrhenius': ('arrhenius_page', 'arrhenius_page'),
    'softness': ('softness_page', 'softness_page'),
    'paths': ('softness_page', 'barriers_page'),
}


def write_report(node: WorkChainNode, folder: str | Path) -> Path:
    """Write the page as ``index.html`` into ``folder``, which is made if needed, and the files that go with it.

    Raises:
        InputError: no answer to report, or the folder cannot be written to.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f'{folder}: is a file; give a folder')
    kind = next((output for output in PAGES if output in node.outputs), None)
    if kind is None or (kind == 'material' and 'tau' not in node.outputs):
        raise InputError(
            f'{node.pk}: this {node.process_label} has no answer; give a new_material, pipeline, dynamic_nmr, '
            'model_error, arrhenius, softness or barriers that finished'
        )
    module, function = PAGES[kind]
    page, contents = getattr(importlib.import_module(f'aiida_ufpnmr.tools.{module}'), function)(node)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f'{folder}: cannot be made ({error.strerror}); choose another folder') from error
    path = check_output(folder / 'index.html')
    for name, content in contents.items():
        with whole_file(folder / name) as partial:
            partial.write_bytes(content)
    with whole_file(path) as partial:
        partial.write_text(page, encoding='utf-8')
    return path
