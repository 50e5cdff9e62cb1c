"""Pages about finished workflows, one HTML file that needs nothing but a browser: what all have in common."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from aiida.common import AttributeDict
from aiida.orm import CalcJobNode, CalculationNode, Data, Dict, Node, QueryBuilder, WorkChainNode, load_node
from ase import Atoms
from markupsafe import Markup, escape

from aiida_ufpnmr.engine.pictures import view_page
from aiida_ufpnmr.engine.tables import Tabular
from aiida_ufpnmr.tools.answer import error_rows, rounded
from aiida_ufpnmr.tools.costs import dynamics_jobs, steps_of
from aiida_ufpnmr.tools.graph import Box, folded, provenance, svg
from aiida_ufpnmr.tools.queries import calculations_behind, codes_of, labels_behind, pk_of, settings_of, step_names

#: Name of the view of the cell beside a page, which itself holds no script.
VIEW = 'view.html'

if TYPE_CHECKING:
    from aiida_ufpnmr.engine.analyses.base import Result

SUBSCRIPT = str.maketrans('0123456789', '₀₁₂₃₄₅₆₇₈₉')


@dataclass(frozen=True)
class ShownResult:
    """A result as a page shows it.

    Attributes:
        title: what it is about.
        result: with the headline, table and remarks that the command prints.
        file, figure: name of the file beside the page, and content as PNG.
    """

    title: str
    result: Tabular
    file: str
    figure: bytes

    @classmethod
    def of_analysis(cls, title: str, kind: type[Result], outputs: Any, file: str) -> ShownResult:
        """That of an analysis, from its outputs ``functions`` and ``figure``."""
        with outputs['functions'].as_path() as path:
            return cls(title, kind.load(path), file, outputs['figure'].get_content(mode='rb'))

    @property
    def image(self) -> str:
        """The figure for a page."""
        return as_text(self.figure)


def render_page(template: str, node: WorkChainNode, pictured: Sequence[Node], **shown: Any) -> str:
    """A page about ``node``.

    Args:
        template: name of the file in the folder ``templates``.
        node: the workflow.
        pictured: its outputs whose provenance is shown.
        shown: what the template shows beside what all pages do, the ``formula`` and the ``potential`` in any case.
    """
    answer = pictured[0] if len(pictured) == 1 else node
    calculations = calculations_behind(node)
    of_answer = calculations if answer is node else calculations_behind(answer)
    steps, settings = steps_of(calculations), settings_of(of_answer)
    boxes, arrows = provenance(*pictured)
    names = step_names([setting.process for setting in settings])
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / 'templates'),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(rounded=rounded, subscripts=_subscripts, together=_together)
    return environment.get_template(template).render(
        node=node,
        made=node.mtime.strftime('%Y-%m-%d'),
        graph=Markup(svg(*folded(boxes, arrows))),
        steps=steps,
        data=_data(boxes),
        settings=[(setting, names[pk_of(setting.process)], _readable(setting.value)) for setting in settings],
        datasets=_datasets(answer),
        versions=versions(calculations),
        codes=codes_of(of_answer),
        cpu_s=sum(step.cpu_s or 0 for step in steps),
        labelled=any('Label' in str(calculation.process_label) for calculation in calculations),
        **{'errors': error_rows(node), **shown},
    )


def of_dynamics(outputs: AttributeDict) -> dict[str, Any]:
    """What pages that extend ``dynamics.html`` show of the method of a dynamic NMR workflow with these outputs."""
    job = dynamics_jobs(outputs.trajectory)[0]
    return {
        'formula': formula(job.inputs.structure.get_ase()),
        'md': outputs.md.results.get_dict(),
        'acf': outputs.acf.results.get_dict() if 'acf' in outputs else {},
        'hops': outputs.hops.results.get_dict(),
        'potential': job.inputs.potential,
        'efg_model': job.inputs.efg_model if 'efg_model' in job.inputs else None,
        'view': VIEW,
    }


def cell_view(outputs: AttributeDict) -> bytes:
    """The cell that a dynamic NMR workflow with these outputs began with, in three dimensions: :data:`VIEW`."""
    structure = dynamics_jobs(outputs.trajectory)[0].inputs.structure
    title = f'{formula(structure.get_ase())}, structure #{structure.pk}'
    return view_page(structure.get_ase(), title=title).encode()


def as_text(image: bytes) -> str:
    """A PNG image as a page holds it."""
    return base64.b64encode(image).decode()


def versions(calculations: Sequence[CalculationNode]) -> dict[str, str]:
    """Versions of everything that can change a number, as the calculations reported them."""
    found: dict[str, set[str]] = {}
    jobs = [pk_of(one) for one in calculations if isinstance(one, CalcJobNode)]
    if jobs:  # else a query refuses
        query = QueryBuilder().append(CalcJobNode, filters={'id': {'in': jobs}}, tag='job')
        query.append(Dict, with_incoming='job', edge_filters={'label': 'results'}, project='attributes.versions')
        for name, version in (pair for reported in query.all(flat=True) for pair in (reported or {}).items()):
            found.setdefault(name, set()).add(str(version))
    return {name: ', '.join(sorted(values)) for name, values in sorted(found.items())}


def _datasets(answer: Node) -> list[tuple[Data, Counter]]:
    """Each data set behind the answer with the number of structures in its groups."""
    labels = labels_behind(answer)
    nodes = {pk_of(label.dataset): label.dataset for label in labels}
    return [
        (nodes[pk], Counter(label.row['group'] for label in labels if label.dataset.pk == pk)) for pk in sorted(nodes)
    ]


def _data(boxes: Mapping[int, Box]) -> list[tuple[str, Data, str]]:
    """Data of the picture, the oldest first: the name there, the node, and the hash of its content."""
    nodes: list[tuple[str, Any]] = [(box.text, load_node(pk)) for pk, box in boxes.items() if box.kind != 'calculation']
    nodes.sort(key=lambda named: (named[1].ctime, pk_of(named[1])))
    return [(name, data, getattr(data, 'sha256', '')) for name, data in nodes]


def formula(atoms: Atoms) -> str:
    """The formula unit, as in Li₃PS₄."""
    return atoms.symbols.formula.reduce()[0].format('metal').translate(SUBSCRIPT)


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
