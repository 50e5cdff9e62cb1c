"""Writes the reference page of the analyses from what they declare: settings, results and arrays, with their units."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Iterator
from pathlib import Path

from aiida_ufpnmr.engine.analyses import ANALYSES, get_analysis
from aiida_ufpnmr.engine.records import Record
from aiida_ufpnmr.engine.settings import declarations, required

HEAD = """Analyses
========

Each analysis is a command (``ufpnmr analyse NAME``; ``ufpnmr acf``), a function of Python (``un.msd('run.h5',
skip_ps=20)``) and, with its settings as ``parameters``, a calculation of AiiDA (``ufpnmr.analyse``, ``ufpnmr.acf``). An
option is the name of its setting with hyphens. Results are the keys of ``--json`` and attributes of the file that
``-o`` writes; arrays are its datasets, with the attribute ``unit``. ``Result.load`` reads the file back, also one of
version 0.1. Beside the results stand the settings and the record of
the trajectory: ``species``, ``ions``, ``frames``, ``frame_spacing_ps``, ``trajectory_ps``, ``reference``, or
``atoms`` and ``composition``, or ``runs``, ``run_files``, ``isotope``.
"""


def table(rows: list[tuple[str, ...]]) -> str:
    """A list table; the first row is the heading."""
    lines = ['.. list-table::', '   :header-rows: 1', '']
    for row in rows:
        lines += [f'   {"* -" if n == 0 else "  -"} {cell.replace("|", chr(92) + "|")}' for n, cell in enumerate(row)]
    return '\n'.join([*lines, ''])


def fields_of(record: type[Record], path: str = '') -> Iterator[tuple[str, str, dict]]:
    """Path, type and description of each field, and of those of records within."""
    hints = typing.get_type_hints(record)
    for field in dataclasses.fields(record):
        if 'shape' not in field.metadata:
            continue
        kind, name = required(hints[field.name]), f'{path}{field.name}'
        options = typing.get_args(kind)
        inner = [one for one in (kind, *options) if isinstance(one, type) and issubclass(one, Record)]
        if inner:
            between = '/<name>' if typing.get_origin(kind) is dict else '/<number>' if options else ''
            yield f'{name}{between}', 'record', field.metadata
            yield from fields_of(inner[0], f'{name}{between}/')
        else:
            yield name, 'array' if field.metadata['shape'] else 'result', field.metadata


def page(name: str) -> str:
    """The section of one analysis."""
    analysis = get_analysis(name)
    defaults = {field.name: field.default for field in dataclasses.fields(analysis.Settings)}
    settings = [('setting', 'default', 'meaning')]
    for key, _, declared in declarations(analysis.Settings):
        default = defaults[key]
        shown = f'{default:.3g}' if isinstance(default, float) else str(default)
        settings.append((f'``{key}``', '' if default in (None, '') else shown, declared.help))
    results, arrays = [('key', 'unit', 'meaning')], [('dataset', 'shape', 'unit', 'meaning')]
    for key, kind, described in fields_of(analysis.Result):
        if kind == 'array':
            arrays.append((f'``{key}``', described['shape'], described['unit'] or '1', described['help']))
        else:
            results.append((f'``{key}``', described['unit'], described['help']))
    text = inspect.cleandoc(analysis.__doc__)
    title = f'{name}\n{"-" * len(name)}'
    file = f'``format = ufpnmr-{analysis.Result.KIND}``, ``format_version = {analysis.Result.VERSION}``'
    example = f'Example::\n\n    {analysis.example}\n'
    return '\n\n'.join([title, text, example, table(settings), table(results), f'In the file ({file}):', table(arrays)])


def write(folder: Path) -> None:
    """Write ``analyses.rst``."""
    sections = [page(name).replace('|C_Q|', '\\|C_Q\\|').replace('\\\\|', '\\|') for name in ANALYSES]
    (folder / 'analyses.rst').write_text('\n'.join([HEAD, *sections]), encoding='utf-8')
