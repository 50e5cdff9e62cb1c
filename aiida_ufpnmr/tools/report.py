"""A finished workflow as one HTML page that needs nothing but a browser."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from aiida.orm import CalcJobNode, Data, Node, StructureData, WorkChainNode, load_node
from markupsafe import Markup, escape

from aiida_ufpnmr.calculations.analyse import by_identifier
from aiida_ufpnmr.engine.analyses import ANALYSES, get_analysis
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_output, whole_file
from aiida_ufpnmr.tools.answer import SUPERSCRIPT, answer_rows, error_rows, rounded, sentence
from aiida_ufpnmr.tools.costs import beside_harper, cost_by_step, dynamics_cost, dynamics_jobs
from aiida_ufpnmr.tools.graph import folded, provenance, svg
from aiida_ufpnmr.tools.queries import (
    calculations_behind,
    codes_behind,
    labels_behind,
    pk_of,
    settings_behind,
    step_name,
)

#: Output namespace, file name beside the page, and what the figure shows.
FIGURES = (
    (
        'acf',
        'correlation.png',
        'Autocorrelation of the quadrupolar frequency and of |C_Q| against the lag time, with the fitted decay.',
    ),
    (
        'msd',
        'displacement.png',
        'Mean square displacement of the ions against the lag time; its straight part gives the diffusion coefficient.',
    ),
    ('hops', 'hops.png', 'Displacement of the ions that hop most; each vertical line is a hop.'),
)

SUBSCRIPT = str.maketrans('0123456789', '₀₁₂₃₄₅₆₇₈₉')


def versions(node: WorkChainNode) -> dict[str, str]:
    """Versions of everything that can change a number, as the calculations reported them."""
    found: dict[str, set[str]] = {}
    for calculation in calculations_behind(node):
        if isinstance(calculation, CalcJobNode) and 'results' in calculation.outputs:
            for name, version in calculation.outputs.results.get_dict().get('versions', {}).items():
                found.setdefault(name, set()).add(str(version))
    return {name: ', '.join(sorted(values)) for name, values in sorted(found.items())}


@dataclass(frozen=True)
class ChosenAnalysis:
    """An analysis beside those that every run has.

    Attributes:
        name, title: of the analysis, and what it is about.
        headline, table, remarks: as the command prints them; the first row is the heading.
        file, figure: name of the file beside the page, and content as PNG.
    """

    name: str
    title: str
    headline: str
    table: Sequence[Sequence[str]]
    remarks: Sequence[str]
    file: str
    figure: bytes

    @property
    def image(self) -> str:
        """The figure for a page."""
        return base64.b64encode(self.figure).decode()


def chosen_analyses(node: WorkChainNode) -> list[ChosenAnalysis]:
    """What the chosen analyses of ``node`` found, in the order in which analyses are listed."""
    outputs = node.outputs['analyses'] if 'analyses' in node.outputs else {}
    by_name = {by_identifier(identifier): outputs[identifier] for identifier in outputs}
    found = []
    for name, title in ANALYSES.items():
        if name in by_name:
            with by_name[name]['functions'].as_path() as path:
                result = get_analysis(name).Result.load(path)
            figure = by_name[name]['figure'].get_content(mode='rb')
            found.append(
                ChosenAnalysis(
                    name=name,
                    title=title.removesuffix('.'),
                    headline=result.headline,
                    table=result.table(),
                    remarks=result.remarks,
                    file=f'{name}.png',
                    figure=figure,
                )
            )
    return found


def figures(node: WorkChainNode) -> list[tuple[str, str, bytes]]:
    """File name, caption and PNG content of every figure of ``node``."""
    return [
        (name, caption, node.outputs[namespace]['figure'].get_content(mode='rb'))
        for namespace, name, caption in FIGURES
        if namespace in node.outputs and 'figure' in node.outputs[namespace]
    ]


def render(node: WorkChainNode, analyses: Sequence[ChosenAnalysis]) -> str:
    """The page, with its figures inside.

    Raises:
        InputError: the workflow has no answer to report.
    """
    if 'tau' not in node.outputs:
        raise InputError(
            f'{node.pk}: this {node.process_label} has no answer; give a pipeline or dynamic_nmr that finished'
        )
    tau = node.outputs.tau.get_dict()
    steps = cost_by_step(node)
    dynamics = dynamics_cost(node)
    job = dynamics_jobs(node.outputs.trajectory)[0]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / 'templates'),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(rounded=rounded, subscripts=_subscripts, together=_together)
    return environment.get_template('report.html').render(
        node=node,
        made=node.mtime.strftime('%Y-%m-%d'),
        formula=_formula(job.inputs.structure),
        nucleus=node.outputs.acf.results['isotope'].translate(SUPERSCRIPT),
        sentence=sentence(tau),
        answers=answer_rows(tau),
        errors=error_rows(node),
        figures=[(name, caption, base64.b64encode(content).decode()) for name, caption, content in figures(node)],
        analyses=analyses,
        graph=Markup(svg(*folded(*provenance(node.outputs.tau)))),
        md=node.outputs.md.results.get_dict(),
        acf=node.outputs.acf.results.get_dict(),
        potential=job.inputs.potential,
        efg_model=job.inputs.efg_model,
        steps=steps,
        data=_data(node.outputs.tau),
        settings=[
            (setting, step_name(setting.process), _readable(setting.value))
            for setting in settings_behind(node.outputs.tau)
        ],
        datasets=_datasets(node.outputs.tau),
        versions=versions(node),
        codes=codes_behind(node.outputs.tau),
        costs=beside_harper(dynamics) if dynamics else [],
        cpu_s=sum(step.cpu_s or 0 for step in steps),
        labelled=any('Label' in str(calculation.process_label) for calculation in calculations_behind(node)),
    )


def _datasets(answer: Node) -> list[tuple[Data, Counter]]:
    """Each data set behind the answer with the number of structures in its groups."""
    labels = labels_behind(answer)
    nodes = {pk_of(label.dataset): label.dataset for label in labels}
    return [
        (nodes[pk], Counter(label.row['group'] for label in labels if label.dataset.pk == pk)) for pk in sorted(nodes)
    ]


def _data(answer: Node) -> list[tuple[str, Data, str]]:
    """Data of the picture, the oldest first: the name there, the node, and the hash of its content."""
    boxes, _ = provenance(answer)
    nodes: list[tuple[str, Any]] = [(box.text, load_node(pk)) for pk, box in boxes.items() if box.kind != 'calculation']
    nodes.sort(key=lambda named: (named[1].ctime, pk_of(named[1])))
    return [(name, data, getattr(data, 'sha256', '')) for name, data in nodes]


def _formula(structure: StructureData) -> str:
    """The formula unit, as in Li₃PS₄."""
    return structure.get_ase().symbols.formula.reduce()[0].format('metal').translate(SUBSCRIPT)


def _subscripts(text: str) -> Markup:
    """Text with the index of C_Q and ω_Q set as one."""
    return Markup(escape(text).replace('_Q', Markup('<sub>Q</sub>')))


def _together(text: str) -> str:
    """Text in which no line ends between a number and its unit."""
    return re.sub(r'(?<=[\d⁰¹²³⁴⁵⁶⁷⁸⁹]) (?!to |and )|(?<=CPU) ', '\u00a0', text)


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
    analyses = chosen_analyses(node)
    page = render(node, analyses)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f'{folder}: cannot be made ({error.strerror}); choose another folder') from error
    path = check_output(folder / 'index.html')
    contents = {name: content for name, _, content in figures(node)}
    contents |= {one.file: one.figure for one in analyses}
    for name, content in contents.items():
        with whole_file(folder / name) as partial:
            partial.write_bytes(content)
    with whole_file(path) as partial:
        partial.write_text(page, encoding='utf-8')
    return path
