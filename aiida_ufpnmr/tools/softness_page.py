"""The pages of workflows about soft ions: of the whole chain, and of barriers alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiida.orm import ProcessNode, WorkChainNode

from aiida_ufpnmr.calculations.fit_softness import FitSoftnessCalculation
from aiida_ufpnmr.data.softness_model import SoftnessModelData
from aiida_ufpnmr.data.trajectory import TrajectoryData
from aiida_ufpnmr.engine.analyses.softness import SoftnessResult
from aiida_ufpnmr.engine.analyses.softness_correlations import SoftnessCorrelationsResult
from aiida_ufpnmr.engine.analyses.softness_onset import SoftnessOnsetResult
from aiida_ufpnmr.engine.barriers.result import Barriers
from aiida_ufpnmr.engine.softness.scores import FitScores
from aiida_ufpnmr.tools.answer import error_rows
from aiida_ufpnmr.tools.page import ShownResult, formula, render_page
from aiida_ufpnmr.workflows.softness import FEWEST_TEMPERATURES, run_of_barriers
from aiida_ufpnmr.workflows.subprocesses import reason

#: Parts over all runs that are saved as HDF5: name of the output, title, and type of the result.
OVER_RUNS = (
    ('correlations', 'What soft ions have around them', SoftnessCorrelationsResult),
    ('onset', 'Probability to rearrange by softness and temperature', SoftnessOnsetResult),
)


def softness_page(node: WorkChainNode) -> tuple[str, dict[str, bytes]]:
    """The page of the whole chain, with its figures inside, and these by name of a file."""
    found, kelvin = parts_of(node), node.inputs.temperatures_K.get_dict()
    given, model, fit = node.inputs.trajectories, model_of(node), fit_of(node)
    runs = {name: given[name] for name in sorted(given)}
    judged = fit.inputs['withhold'] if fit is not None and 'withhold' in fit.inputs else {}
    answers = [node.outputs[part].results for part in ('correlations', 'onset', 'barriers') if part in node.outputs]
    page = render_page(
        'softness.html',
        node,
        answers or [one.results for one in node.outputs.softness.values()],
        title='Softness',
        formula=_formula(next(iter(runs.values()))),
        potential=node.inputs.potential,
        sentence=sentence(found),
        found=sorted(found, key=lambda one: isinstance(one.result, SoftnessResult)),
        runs=run_rows(runs, kelvin),
        withheld=run_rows({name: judged[name] for name in sorted(judged)}, {}),
        model=model,
        settings_of_model=model.base.attributes.get('settings'),
        validation='' if fit is None else fit.outputs.results['validation']['method'],
        failure='' if node.is_finished_ok else reason(node),
        too_few_temperatures=len(set(kelvin.values())) < FEWEST_TEMPERATURES,
        barriers=node.outputs.barriers.results.get_dict() if 'barriers' in node.outputs else {},
    )
    return page, {one.file: one.figure for one in found}


def barriers_page(node: WorkChainNode) -> tuple[str, dict[str, bytes]]:
    """The page of the barriers of hops alone."""
    shown, job = barriers_of(node.outputs), node.outputs.results.creator
    page = render_page(
        'barriers.html',
        node,
        [node.outputs.results],
        title='Barriers',
        formula=_formula(job.inputs.trajectory),
        potential=job.inputs.potential,
        errors=error_rows(job),
        sentence=sentence([shown]),
        found=[shown],
        runs=run_rows({'trajectory': job.inputs.trajectory}, {}),
        barriers=job.outputs.results.get_dict(),
    )
    return page, {shown.file: shown.figure}


def parts_of(node: WorkChainNode) -> list[ShownResult]:
    """What the chain found, in its order; parts that failed are left out."""
    found, fit = [], fit_of(node)
    if fit is not None:
        title, image = 'Mobile and immobile ions', fit.outputs.figure.get_content(mode='rb')
        found.append(ShownResult(title, FitScores(fit.outputs.results.get_dict()), 'fit.png', image))
    kelvin = node.inputs.temperatures_K.get_dict()
    by_run = node.outputs['softness'] if 'softness' in node.outputs else {}
    for name in sorted(by_run):
        at = f' at {kelvin[name]:g} K' if name in kelvin else ''
        title = f'Softness along {name}{at}'
        found.append(ShownResult.of_analysis(title, SoftnessResult, by_run[name], f'softness-{name}.png'))
    for part, title, kind in OVER_RUNS:
        if part in node.outputs:
            found.append(ShownResult.of_analysis(title, kind, node.outputs[part], f'{part}.png'))
    if 'barriers' in node.outputs:
        found.append(barriers_of(node.outputs['barriers'], f'Barriers of hops along {run_of_barriers(node.inputs)}'))
    return found


def barriers_of(outputs: Any, title: str = 'Barriers of hops') -> ShownResult:
    """The barriers among the outputs of a workflow."""
    result = Barriers.from_dict(outputs.results.get_dict())
    return ShownResult(title, result, 'barriers.png', outputs.figure.get_content(mode='rb'))


def model_of(node: WorkChainNode) -> SoftnessModelData:
    """The model of a chain, fitted or given."""
    return node.outputs.softness_model if 'softness_model' in node.outputs else node.inputs.softness_model


def fit_of(node: WorkChainNode) -> ProcessNode | None:
    """The fit that made the model of a chain; ``None`` where that came from a file, or failed."""
    if 'softness_model' not in node.outputs and 'softness_model' not in node.inputs:
        return None
    creator = model_of(node).creator
    return creator if creator is not None and creator.process_class is FitSoftnessCalculation else None


def run_rows(runs: dict[str, TrajectoryData], temperatures_K: dict[str, float]) -> list[tuple[str, ...]]:
    """Table of trajectories, the heading first; where a run made them, its number."""
    rows: list[tuple[str, ...]] = [('run', 'trajectory', 'temperature', 'atoms', 'frames', 'time', 'made by')]
    for name, run in runs.items():
        kelvin = f'{temperatures_K[name]:g} K' if name in temperatures_K else '–'
        creator = run.creator
        made = 'a file' if creator is None else f'{creator.process_label} #{creator.pk}'
        label = f'#{run.pk} {run.label}'.strip()
        rows.append((name, label, kelvin, str(run.n_atoms), str(run.n_frames), f'{run.time_ps:.4g} ps', made))
    return rows


def sentence(parts: Sequence[ShownResult]) -> str:
    """Accuracy and barriers in one sentence or two."""
    said = []
    for one in parts:
        if isinstance(one.result, FitScores):
            accuracy, interval = (one.result.results[f'balanced_accuracy{end}'] for end in ('', '_ci95'))
            undecided = one.result.results['undecided']
            said.append(
                f'Of mobile and immobile ions that were withheld, each kind counted alike, a share of {accuracy:.3f} '
                '(95 % interval {:.3f} to {:.3f})'.format(*interval)
                + f' is told from the other by its surroundings; {undecided:.1%} of all ions and windows are undecided.'
            )
        if isinstance(one.result, Barriers):
            split = one.result.by_softness
            said.append(
                f'{one.result.headline}.'
                if split is None
                else f'The median barrier of soft ions less that of hard ones is {split.difference_eV:.3f} eV (95 % '
                'interval {:.3f} to {:.3f})'.format(*split.difference_eV_ci95)
                + f', p = {split.mann_whitney_p:.2g}.'
            )
    return ' '.join(said) or 'The softness of the ions; nothing is on record of how well the model tells them apart.'


def _formula(trajectory: TrajectoryData) -> str:
    with trajectory.open_trajectory() as opened:
        return formula(opened.atoms(0))
