"""The page of a workflow that fits the law of Arrhenius to many runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiida.common.links import LinkType
from aiida.orm import WorkChainNode

from aiida_ufpnmr.engine.analyses.arrhenius import QUANTITIES, ArrheniusResult
from aiida_ufpnmr.engine.tables import with_interval
from aiida_ufpnmr.tools.answer import QUANTITIES as ANSWERS
from aiida_ufpnmr.tools.answer import answer_cells
from aiida_ufpnmr.tools.page import VIEW, as_text, cell_view, of_dynamics, render_page
from aiida_ufpnmr.tools.queries import outputs_of
from aiida_ufpnmr.workflows.subprocesses import reason

#: Rows of the answer of a run that the table of runs shows: quantities that laws are fitted to.
SHOWN = tuple(name for fitted in QUANTITIES for key, name, _ in ANSWERS if key == fitted)


def arrhenius_page(node: WorkChainNode) -> tuple[str, dict[str, bytes]]:
    """The page, with its figure inside, and by name of a file the figure and the view of the cell."""
    laws = laws_of(node)
    figures = {'arrhenius.png': node.outputs.figure.get_content(mode='rb')} if 'figure' in node.outputs else {}
    refused = node.outputs.arrhenius.get_dict()['refused']
    runs = runs_of(node)
    first = next(outputs for outputs in map(outputs_of, runs) if 'tau' in outputs)
    page = render_page(
        'arrhenius.html',
        node,
        [node.outputs.arrhenius],
        **of_dynamics(first),
        title='Law of Arrhenius',
        sentence=sentence(laws),
        figure=as_text(figures['arrhenius.png']) if figures else '',
        laws=laws,
        refused=[(QUANTITIES[name][0], why) for name, why in refused.items()],
        runs=run_rows(runs),
        temperatures=', '.join(f'{one:g}' for one in sorted(node.inputs.temperatures_K.get_list())),
    )
    return page, figures | {VIEW: cell_view(first)}


def laws_of(node: WorkChainNode) -> list[ArrheniusResult]:
    """The laws that the workflow found, in the order of the quantities."""
    files = node.outputs['laws'] if 'laws' in node.outputs else {}
    found = []
    for name in QUANTITIES:
        if name in files:
            with files[name].as_path() as path:
                found.append(ArrheniusResult.load(path))
    return found


def runs_of(node: WorkChainNode) -> list[WorkChainNode]:
    """The dynamic NMR workflows of ``node``, by label: those that it called, and those that it took up."""
    called: Any = node.base.links.get_outgoing(node_class=WorkChainNode, link_type=LinkType.CALL_WORK).all()
    runs = {link.link_label: link.node for link in called}
    answers = node.outputs['runs'] if 'runs' in node.outputs else {}
    for label in set(answers) - set(runs):
        runs[label] = answers[label].creator.caller
    return [runs[label] for label in sorted(runs)]


def run_rows(runs: Sequence[WorkChainNode]) -> list[tuple[str, ...]]:
    """Table of the runs: temperature, seed and answer of each, or why it has none; the first row is the heading."""
    rows: list[tuple[str, ...]] = [('run', 'temperature', 'seed', *SHOWN, 'remark')]
    for run in runs:
        given = run.inputs.md.parameters.get_dict()
        tau = run.outputs.tau.get_dict() if 'tau' in run.outputs else {}
        cells = answer_cells(tau, SHOWN) if tau else ['–'] * len(SHOWN)
        remark = '' if run.is_finished_ok else reason(run)
        rows.append((f'#{run.pk}', f'{given["temperature"]:g} K', str(given['seed']), *cells, remark))
    return rows


def sentence(laws: Sequence[ArrheniusResult]) -> str:
    """The activation energies in one sentence."""
    if not laws:
        return 'No law of Arrhenius goes through these runs.'
    energies = [
        f'{with_interval(law.activation_energy_eV, law.activation_energy_eV_ci95, ".3f")} eV for {law.symbol}'
        for law in laws
    ]
    return f'Activation energies with 95 % intervals: {"; ".join(energies)}.'
