"""Cost of a result, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiida.common import AttributeDict
from aiida.common.links import LinkType
from aiida.orm import CalculationNode, Node

from aiida_ufpnmr.data import TrajectoryData
from aiida_ufpnmr.tools.answer import rounded
from aiida_ufpnmr.tools.queries import calculations_behind, pk_of, step_names
from aiida_ufpnmr.workflows.budget import timings


@dataclass(frozen=True)
class Step:
    """A calculation behind a result, with its times in seconds, ``None`` where it reports none."""

    name: str
    pk: int
    uuid: str
    finished: str
    wall_s: float | None
    cpu_s: float | None


#: The costs that Harper and co-workers report: CPU hours of 1 µs of dynamics, for cells of two sizes that they do not
#: tell apart, and CPU hours of the tensors of 216 ions in 10⁴ snapshots.
HARPER_MD_CPU_HOURS, HARPER_MD_NS, HARPER_ATOMS = 40_000, 1000, (384, 576)
HARPER_EFG_CPU_HOURS, HARPER_TENSORS = 500, 10_000 * 216


@dataclass(frozen=True)
class DynamicsCost:
    """Cost of the dynamics of a workflow, with the EFG tensors along the way.

    Attributes:
        cpu_s: CPU time of all its jobs.
        atoms: in the cell.
        steps: with those that equilibrate.
        timestep_fs: of each.
        tensors: EFG tensors that were predicted along the way.
    """

    cpu_s: float
    atoms: int
    steps: int
    timestep_fs: float
    tensors: int

    @property
    def ns(self) -> float:
        """Simulated time, ns."""
        return 1e-6 * self.steps * self.timestep_fs


def dynamics_jobs(trajectory: TrajectoryData) -> list[CalculationNode]:
    """The calculations that simulated a trajectory: one, or one for each of its parts."""
    creator = trajectory.creator
    parts = creator.base.links.get_incoming(node_class=TrajectoryData, link_type=LinkType.INPUT_CALC).all_nodes()
    return [part.creator for part in sorted(parts, key=pk_of)] or [creator]


def dynamics_cost(outputs: AttributeDict) -> DynamicsCost | None:
    """Cost of the dynamics of a workflow with these outputs; ``None`` where that was not recorded, or where it predicts
    no tensors."""
    if 'acf' not in outputs:
        return None
    jobs = dynamics_jobs(outputs.trajectory)
    found = timings([pk_of(job) for job in jobs])
    if len(found) < len(jobs):
        return None
    results = outputs.md.results.get_dict()
    steps = results['steps'] + jobs[0].inputs.parameters.get_dict().get('equilibrate', 0)
    frames = sum(outputs.trajectory.base.attributes.get('efg_frames').values())
    return DynamicsCost(
        cpu_s=sum(timing['cpu_s'] for timing in found.values()),
        atoms=results['atoms'],
        steps=steps,
        timestep_fs=results['timestep_fs'],
        tensors=outputs.acf.results['ions'] * frames,
    )


def beside_harper(cost: DynamicsCost) -> list[tuple[str, str, str]]:
    """Rows of a table: the quantity, its cost here, and the cost that Harper and co-workers report of the same.

    Sizes differ, so what counts are the costs of an atom and of a tensor. Theirs of an atom has bounds: the least, if
    they paid for 1 µs of both cells, and the most, if for that of the smaller one alone. Ours of a tensor is a bound,
    as if the tensors had taken all the time of the dynamics.
    """
    hours, theirs = cost.cpu_s / 3600, HARPER_MD_CPU_HOURS / HARPER_MD_NS
    smaller, larger = HARPER_ATOMS
    least, most = theirs / (smaller + larger), theirs / smaller
    return [
        (
            'simulated',
            f'{cost.atoms} atoms, {rounded(cost.ns)} ns',
            f'cells of {smaller} and {larger} atoms, {HARPER_MD_NS} ns',
        ),
        ('dynamics', f'{rounded(hours)} CPU h', f'{HARPER_MD_CPU_HOURS:,} CPU h'),
        (
            'dynamics, an atom and ns',
            f'{rounded(hours / (cost.atoms * cost.ns))} CPU h',
            f'{rounded(least)} to {rounded(most)} CPU h',
        ),
        (
            f'dynamics, an atom and step of {rounded(cost.timestep_fs)} fs',
            f'{rounded(1e6 * cost.cpu_s / (cost.atoms * cost.steps))} CPU µs',
            'time step not given',
        ),
        ('EFG tensors', f'{cost.tensors:,}', f'{HARPER_TENSORS:,}'),
        ('their prediction', 'part of the dynamics', f'{HARPER_EFG_CPU_HOURS} CPU h'),
        (
            'prediction, a tensor',
            f'below {rounded(cost.cpu_s / cost.tensors, 2)} CPU s',
            f'{rounded(3600 * HARPER_EFG_CPU_HOURS / HARPER_TENSORS, 2)} CPU s',
        ),
    ]


def cost_by_step(node: Node) -> list[Step]:
    """All calculations behind ``node``, in order, with the time they took."""
    return steps_of(calculations_behind(node))


def steps_of(given: Sequence[CalculationNode]) -> list[Step]:
    """Calculations with the time they took."""
    calculations = {pk_of(calculation): calculation for calculation in given}
    found, names = timings(calculations), step_names(given)
    return [
        Step(
            name=names[pk],
            pk=pk,
            uuid=calculation.uuid,
            finished=calculation.mtime.strftime('%Y-%m-%d %H:%M'),
            wall_s=found.get(pk, {}).get('wall_s'),
            cpu_s=found.get(pk, {}).get('cpu_s', found.get(pk, {}).get('wall_s')),
        )
        for pk, calculation in calculations.items()
    ]
