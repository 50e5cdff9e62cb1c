"""A finished workflow as one HTML page that needs nothing but a browser."""

from __future__ import annotations

import base64
import json
from collections import Counter
from pathlib import Path
from typing import Any

import jinja2
from aiida.orm import CalcJobNode, WorkChainNode
from markupsafe import Markup

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_output, whole_file
from aiida_ufpnmr.tools.answer import answer_rows, error_rows, sentence
from aiida_ufpnmr.tools.graph import provenance, svg
from aiida_ufpnmr.tools.costs import cost_by_step
from aiida_ufpnmr.tools.queries import calculations_behind, codes_behind, labels_behind, settings_behind, step_name

#: Output namespace, file name beside the page, and what the figure shows.
FIGURES = (
    ('acf', 'correlation.png', 'Correlation of the quadrupolar frequency, with the fitted decay.'),
    ('msd', 'displacement.png', 'Mean square displacement along the same trajectory.'),
    ('hops', 'hops.png', 'Hops between sites along the same trajectory.'),
)


def versions(node: WorkChainNode) -> dict[str, str]:
    """Versions of everything that can change a number, as the calculations reported them."""
    found: dict[str, set[str]] = {}
    for calculation in calculations_behind(node):
        if isinstance(calculation, CalcJobNode) and 'results' in calculation.outputs:
            for name, version in calculation.outputs.results.get_dict().get('versions', {}).items():
                found.setdefault(name, set()).add(str(version))
    return {name: ', '.join(sorted(values)) for name, values in sorted(found.items())}


def figures(node: WorkChainNode) -> list[tuple[str, str, bytes]]:
    """File name, caption and PNG content of every figure of ``node``."""
    return [
        (name, caption, node.outputs[namespace]['figure'].get_content(mode='rb'))
        for namespace, name, caption in FIGURES
        if namespace in node.outputs and 'figure' in node.outputs[namespace]
    ]


def render(node: WorkChainNode) -> str:
    """The page, with its figures inside.

    Raises:
        InputError: the workflow has no answer to report.
    """
    if 'tau' not in node.outputs:
        raise InputError(
            f'{node.pk}: this {node.process_label} has no answer; give a pipeline or dynamic_nmr that finished'
        )
    tau = node.outputs.tau.get_dict()
    done = cost_by_step(node)
    labels = labels_behind(node.outputs.tau)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / 'templates'),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template('report.html').render(
        node=node,
        made=node.mtime.strftime('%Y-%m-%d'),
        sentence=sentence(tau),
        answers=answer_rows(tau),
        errors=error_rows(node),
        figures=[(name, caption, base64.b64encode(content).decode()) for name, caption, content in figures(node)],
        graph=Markup(svg(*provenance(node.outputs.tau))),
        steps=done,
        settings=[
            (setting, step_name(setting.process), _readable(setting.value))
            for setting in settings_behind(node.outputs.tau)
        ],
        datasets=_datasets(labels),
        versions=versions(node),
        codes=codes_behind(node.outputs.tau),
        cpu_hours=sum(step.cpu_s or 0 for step in done) / 3600,
    )


def _datasets(labels) -> list[tuple[Any, Counter]]:
    """Each data set with the number of structures in its groups."""
    nodes = {label.dataset.pk: label.dataset for label in labels}
    return [
        (nodes[pk], Counter(label.row['group'] for label in labels if label.dataset.pk == pk)) for pk in sorted(nodes)
    ]


def _readable(value: Any) -> str:
    if isinstance(value, dict):
        return ', '.join(f'{name} = {json.dumps(item)}' for name, item in sorted(value.items())) or 'defaults'
    return str(value)


def write_report(node: WorkChainNode, folder: str | Path) -> Path:
    """Write the page as ``index.html`` into ``folder``, which is made if needed, and its figures beside it.

    Raises:
        InputError: no answer to report, or the folder cannot be written to.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f'{folder}: is a file; give a folder')
    page = render(node)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f'{folder}: cannot be made ({error.strerror}); choose another folder') from error
    path = check_output(folder / 'index.html')
    for name, _, content in figures(node):
        with whole_file(folder / name) as partial:
            partial.write_bytes(content)
    with whole_file(path) as partial:
        partial.write_text(page, encoding='utf-8')
    return path
