"""Claims about batches: packed runs are those of jobs of their own, none stops another, and none is made twice."""

from __future__ import annotations

from aiida import orm
from aiida.engine import run_get_node

from aiida_ufpnmr.calculations.md import MdCalculation
from aiida_ufpnmr.calculations.md_pack import MdPackCalculation
from aiida_ufpnmr.workflows.batches import MdBatchWorkChain

PARAMETERS = {'steps': 100, 'timestep': 1.0, 'every': 10}


def batch(code, potential, structures, **changes):
    """A builder of a small batch."""
    overrides = {'min_cell_height_angstrom': 1.0, 'md': {'parameters': PARAMETERS}}
    overrides |= {name: changes.pop(name) for name in ('most_at_once', 'pack_to_s') if name in changes}
    given = {'temperatures_K': [100.0, 200.0], 'replicas': 2, 'protocol': 'fast', **changes}
    return MdBatchWorkChain.get_builder_from_protocol(code, structures, potential, overrides=overrides, **given)


def called(node: orm.WorkChainNode, kind) -> list[orm.ProcessNode]:
    """Processes of a kind below a batch."""
    return [one for one in node.called_descendants if one.process_class is kind]


def hashes(node: orm.WorkChainNode) -> dict[str, str]:
    """The content of each trajectory of a batch."""
    return {label: node.outputs.trajectories[label].sha256 for label in node.outputs.trajectories}


def test_packed_runs_are_to_the_bit_those_of_jobs_of_their_own(code, potential, structure):
    potential.store()
    single = [
        run_get_node(
            MdCalculation,
            code=code,
            potential=potential,
            structure=structure,
            parameters={**PARAMETERS, 'ensemble': 'nvt', 'supercell': [1, 1, 1], 'temperature': one, 'seed': seed},
        )[0]
        for seed, one in enumerate((100.0, 100.0, 200.0, 200.0))
    ]
    _, node = run_get_node(batch(code, potential, {'beta': structure}))
    assert node.is_finished_ok, node.exit_message
    assert len(called(node, MdPackCalculation)) == 1 and len(called(node, MdCalculation)) == 4
    assert list(hashes(node).values()) == [one['trajectory'].sha256 for one in single]
    for label, one in zip(sorted(node.outputs.runs), single):
        assert node.outputs.runs[label].get_dict() == one['results'].get_dict()
