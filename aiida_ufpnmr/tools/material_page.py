"""What the page of a whole material shows beside the answer: its cells and labels, errors by generation, and costs."""

from __future__ import annotations

from typing import Any

from aiida.orm import CalcJobNode, WorkChainNode

from aiida_ufpnmr.calculations.draw import DrawCalculation
from aiida_ufpnmr.calculations.md import MdCalculation
from aiida_ufpnmr.engine.building.composition import formula
from aiida_ufpnmr.engine.tables import ERRORS
from aiida_ufpnmr.tools.answer import check_rows, rounded
from aiida_ufpnmr.tools.dynamic_nmr_page import dynamic_nmr_page
from aiida_ufpnmr.workflows.active_learning import ActiveLearningWorkChain
from aiida_ufpnmr.workflows.budget import core_hours
from aiida_ufpnmr.workflows.label import LabelWorkChain
from aiida_ufpnmr.workflows.learning_generation import ERRORS as REPORTED

#: Columns of the table of generations: entry of the history and heading.
COLUMNS = {
    'stage': 'stage',
    'labels': 'labels',
    'labels_new': 'new',
    'runs': 'runs',
    'runs_stopped_by_guard': 'stopped',
    'fraction_above_grade_1': 'unknown frames',
    **{key: ', '.join(ERRORS[key]) for key in REPORTED},
}


def of_material(node: WorkChainNode) -> dict[str, Any]:
    """What ``new_material.html`` shows of a finished workflow beside the dynamics."""
    material, history = node.outputs.material.get_dict(), node.outputs.history.get_dict()
    return {
        'material': material,
        'composition': formula(material['cells']['composition']),
        'generations': generation_rows(history['generations']),
        'hours': cost_rows(node),
        'check': check_rows(node.outputs.check) if 'check' in node.outputs else (),
        'checked': len(node.outputs.check.dataset.rows) if 'check' in node.outputs else 0,
        'withheld': len(node.outputs.test_dataset.rows) if 'test_dataset' in node.outputs else 0,
    }


def new_material_page(node: WorkChainNode) -> tuple[str, dict[str, bytes]]:
    """The page of a whole material: the answer, how learning went, and what it has cost."""
    return dynamic_nmr_page(node, 'new_material.html', **of_material(node))


def generation_rows(generations: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Table of the generations, heading first, of the columns that any of them fills."""
    known = {key: name for key, name in COLUMNS.items() if any(one.get(key) is not None for one in generations)}
    rows = [
        (str(one['generation']), *('–' if one.get(key) is None else rounded(one[key]) for key in known))
        for one in generations
    ]
    return [('generation', *known.values()), *rows]


def cost_rows(node: WorkChainNode) -> list[tuple[str, str]]:
    """CPU hours of labels, of runs and fits that led to the models, of the dynamics with them, and of all."""
    labels: dict[int, CalcJobNode] = {}
    learnt: dict[int, CalcJobNode] = {}
    for called in node.called_descendants:
        if called.process_class is LabelWorkChain:
            labels |= _jobs(called)
        elif called.process_class is ActiveLearningWorkChain:
            learnt |= _jobs(called)
    learnt = {pk: job for pk, job in learnt.items() if pk not in labels}
    everything = _jobs(node)
    drawn = [job for job in everything.values() if job.process_class is DrawCalculation]
    runs = [job for job in learnt.values() if job.process_class is MdCalculation]
    fits = [job for job in learnt.values() if job.process_class is not MdCalculation]
    answer = [job for pk, job in everything.items() if pk not in labels and pk not in learnt and job not in drawn]
    parts = {
        'labels': list(labels.values()),
        'first structures': drawn,
        'runs that explore': runs,
        'fits and choices': fits,
        'dynamics for check and answer': answer,
        'all': list(everything.values()),
    }
    return [(name, rounded(core_hours(jobs))) for name, jobs in parts.items()]


def _jobs(node: Any) -> dict[int, CalcJobNode]:
    """The jobs under a process by pk."""
    return {job.pk: job for job in node.called_descendants if isinstance(job, CalcJobNode) and job.pk is not None}
