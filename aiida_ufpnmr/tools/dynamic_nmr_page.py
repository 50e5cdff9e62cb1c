"""The page of a run of dynamic NMR: the answer, figures, what the analyses found, and what it cost."""

from __future__ import annotations

from typing import Any

from aiida.common import AttributeDict
from aiida.orm import WorkChainNode

from aiida_ufpnmr.calculations.analyse import by_identifier
from aiida_ufpnmr.engine.analyses import ANALYSES, get_analysis
from aiida_ufpnmr.tools.answer import SUPERSCRIPT, answer_rows, sentence
from aiida_ufpnmr.tools.costs import beside_harper, dynamics_cost
from aiida_ufpnmr.tools.page import VIEW, ShownResult, as_text, cell_view, of_dynamics, render_page
from aiida_ufpnmr.tools.queries import outputs_of

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


def chosen_analyses(outputs: AttributeDict) -> list[ShownResult]:
    """What the chosen analyses among ``outputs`` found, in the order in which analyses are listed."""
    by_name = {by_identifier(identifier): found for identifier, found in outputs.get('analyses', {}).items()}
    return [
        ShownResult.of_analysis(title.removesuffix('.'), get_analysis(name).Result, by_name[name], f'{name}.png')
        for name, title in ANALYSES.items()
        if name in by_name
    ]


def figures(outputs: AttributeDict) -> list[tuple[str, str, bytes]]:
    """File name, caption and PNG content of every figure among ``outputs``."""
    return [
        (name, caption, outputs[namespace]['figure'].get_content(mode='rb'))
        for namespace, name, caption in FIGURES
        if 'figure' in outputs.get(namespace, {})
    ]


def dynamic_nmr_page(node: WorkChainNode, template: str = 'report.html', **shown: Any) -> tuple[str, dict[str, bytes]]:
    """The page of a pipeline or a dynamic NMR workflow, with its figures inside, and by name of a file these and the
    view of the cell. Another ``template`` may show more."""
    outputs = outputs_of(node)
    analyses, drawn = chosen_analyses(outputs), figures(outputs)
    tau = outputs.tau.get_dict()
    dynamics = dynamics_cost(outputs)
    correlated = outputs.acf.results if 'acf' in outputs else None
    page = render_page(
        template,
        node,
        [outputs.tau],
        **of_dynamics(outputs),
        title='Dynamic NMR',
        nucleus=correlated['isotope'].translate(SUPERSCRIPT) if correlated else outputs.hops.results['species'],
        sentence=sentence(tau),
        answers=answer_rows(tau),
        figures=[(name, caption, as_text(content)) for name, caption, content in drawn],
        analyses=analyses,
        costs=beside_harper(dynamics) if dynamics else [],
        **shown,
    )
    contents = {name: content for name, _, content in drawn} | {one.file: one.figure for one in analyses}
    return page, contents | {VIEW: cell_view(outputs)}
