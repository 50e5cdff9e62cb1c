"""A finished workflow as one HTML page that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiida.orm import WorkChainNode

from aiida_ufpnmr.calculations.analyse import by_identifier
from aiida_ufpnmr.engine.analyses import ANALYSES, get_analysis
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_output, whole_file
from aiida_ufpnmr.tools.answer import SUPERSCRIPT, answer_rows, sentence
from aiida_ufpnmr.tools.arrhenius_page import arrhenius_page
from aiida_ufpnmr.tools.costs import beside_harper, dynamics_cost
from aiida_ufpnmr.tools.material_page import of_material
from aiida_ufpnmr.tools.page import VIEW, ShownResult, as_text, cell_view, of_dynamics, render_page
from aiida_ufpnmr.tools.softness_page import barriers_page, softness_page

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


def chosen_analyses(node: WorkChainNode) -> list[ShownResult]:
    """What the chosen analyses of ``node`` found, in the order in which analyses are listed."""
    outputs = node.outputs['analyses'] if 'analyses' in node.outputs else {}
    by_name = {by_identifier(identifier): outputs[identifier] for identifier in outputs}
    return [
        ShownResult.of_analysis(title.removesuffix('.'), get_analysis(name).Result, by_name[name], f'{name}.png')
        for name, title in ANALYSES.items()
        if name in by_name
    ]


def figures(node: WorkChainNode) -> list[tuple[str, str, bytes]]:
    """File name, caption and PNG content of every figure of ``node``."""
    return [
        (name, caption, node.outputs[namespace]['figure'].get_content(mode='rb'))
        for namespace, name, caption in FIGURES
        if namespace in node.outputs and 'figure' in node.outputs[namespace]
    ]


def dynamic_nmr_page(node: WorkChainNode, template: str = 'report.html', **shown: Any) -> tuple[str, dict[str, bytes]]:
    """The page of a pipeline or a dynamic NMR workflow, with its figures inside, and by name of a file these and the
    view of the cell. Another ``template`` may show more."""
    analyses, drawn = chosen_analyses(node), figures(node)
    tau = node.outputs.tau.get_dict()
    dynamics = dynamics_cost(node)
    correlated = node.outputs.acf.results if 'acf' in node.outputs else None
    page = render_page(
        template,
        node,
        [node.outputs.tau],
        **of_dynamics(node),
        title='Dynamic NMR',
        nucleus=correlated['isotope'].translate(SUPERSCRIPT) if correlated else node.outputs.hops.results['species'],
        sentence=sentence(tau),
        answers=answer_rows(tau),
        figures=[(name, caption, as_text(content)) for name, caption, content in drawn],
        analyses=analyses,
        costs=beside_harper(dynamics) if dynamics else [],
        **shown,
    )
    contents = {name: content for name, _, content in drawn} | {one.file: one.figure for one in analyses}
    return page, contents | {VIEW: cell_view(node)}


def new_material_page(node: WorkChainNode) -> tuple[str, dict[str, bytes]]:
    """The page of a whole material: the answer, how learning went, and what it has cost."""
    return dynamic_nmr_page(node, 'new_material.html', **of_material(node))


#: The page of a workflow by an output that it alone has.
PAGES: dict[str, Callable[[WorkChainNode], tuple[str, dict[str, bytes]]]] = {
    'material': new_material_page,
    'tau': dynamic_nmr_page,
    'arrhenius': arrhenius_page,
    'softness': softness_page,
    'paths': barriers_page,
}


def write_report(node: WorkChainNode, folder: str | Path) -> Path:
    """Write the page as ``index.html`` into ``folder``, which is made if needed, and the files that go with it.

    Raises:
        InputError: no answer to report, or the folder cannot be written to.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f'{folder}: is a file; give a folder')
    page_of = next((page for output, page in PAGES.items() if output in node.outputs), None)
    if page_of is None or (page_of is new_material_page and 'tau' not in node.outputs):
        raise InputError(
            f'{node.pk}: this {node.process_label} has no answer; give a pipeline, dynamic_nmr, arrhenius, softness or '
            'barriers that finished'
        )
    page, contents = page_of(node)
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
