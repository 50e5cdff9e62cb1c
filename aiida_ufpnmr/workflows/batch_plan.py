"""The runs of a batch: which they are, what makes two of them the same, and which go into one job."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from aiida.engine import CalcJob
from aiida.orm import BaseType, Dict, List, Node, QueryBuilder, StructureData, WorkChainNode, load_node

from aiida_ufpnmr.calculations.md import MdCalculation
from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.workflows import wall_time

#: Time in which a program starts and reads its kernels, s.
START_S = 3.0
#: Runs in one job at most, since their files are made in one folder first.
MOST_IN_PACK = 500
#: Identities that one query asks for: SQLite takes no more than some thousand values.
AT_ONCE = 500
#: Inputs that say how a run is made, and not what it is.
ASIDE = ('code', 'metadata', 'clean_workdir', 'remote_folder')


@dataclass(frozen=True)
class Run:
    """One run of a batch.

    Attributes:
        label: its name in the batch.
        structure: name of the structure where it starts.
        temperature_K: of its dynamics.
        seed: of its velocities and thermostat.
    """

    label: str
    structure: str
    temperature_K: float
    seed: int

    def __str__(self) -> str:
        return f'{self.structure} {self.temperature_K:g} K, seed {self.seed}'.strip()


def planned(structures: Iterable[str], temperatures_K: Iterable[float], replicas: int, seed: int) -> list[Run]:
    """Runs of each structure at each temperature, with the next seed for each."""
    kinds = [(name, float(one)) for name in sorted(structures) for one in sorted(temperatures_K)]
    kinds = [kind for kind in kinds for _ in range(replicas)]
    digits = max(3, len(str(len(kinds))))
    return [Run(f'run_{n + 1:0{digits}d}', *kind, seed + n) for n, kind in enumerate(kinds)]


def identity(workflow: str, inputs: Mapping[str, Any]) -> str:
    """What makes two runs the same: a hash of all that decides about their numbers, as caching has it."""
    text = json.dumps([workflow, MdCalculation.CACHE_VERSION, _described(inputs)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _described(value: Any) -> Any:
    if isinstance(value, Mapping):
        known = {name: _described(one) for name, one in value.items() if name not in ASIDE}
        return {name: one for name, one in known.items() if one != {}}
    if isinstance(value, Dict):
        return value.get_dict()
    if isinstance(value, List):
        return value.get_list()
    if isinstance(value, BaseType):
        return value.value
    return _content(value.uuid)


@lru_cache(maxsize=1 << 14)
def _content(uuid: str) -> str | None:
    """Hash of a node, which is what it was once it is stored."""
    return load_node(uuid).base.caching.compute_hash()


def ended_well(identities: Sequence[str], job: type[CalcJob] | None = None) -> dict[str, int]:
    """The newest run of each identity that ended well, in whatever batch: its pk.

    Args:
        identities: of the runs, which are the labels of their workflows.
        job: a calculation that makes all of a run, where its first attempt succeeds; one whose workflow was killed
            before it could take that note stands for the run.
    """
    found: dict[str, int] = {}
    for first in range(0, len(identities), AT_ONCE):
        wanted: dict[str, Any] = {'label': {'in': list(identities[first : first + AT_ONCE])}}
        well = {'attributes.exit_status': 0}
        if job is not None:
            query = QueryBuilder().append(WorkChainNode, filters=wanted, tag='run', project='label')
            query.append(
                job, with_incoming='run', edge_filters={'label': 'iteration_01'}, filters=well, project='id', tag='job'
            )
            found.update(dict(query.order_by({'job': 'id'}).all()))
        query = QueryBuilder().append(WorkChainNode, filters=wanted | well, tag='run', project=['label', 'id'])
        found.update(dict(query.order_by({'run': 'id'}).all()))
    return found


def speed_of(potential: PotentialData, efg_model: EfgModelData | None) -> float:
    """Atom-steps per second on one core of the newest run of a potential, with EFG tensors on the way where there is a
    model; :data:`~aiida_ufpnmr.workflows.wall_time.SPEED` where there is none."""
    query = QueryBuilder().append(Node, filters={'id': potential.pk}, tag='potential')
    query.append(MdCalculation, with_incoming='potential', filters={'attributes.exit_status': 0}, tag='run')
    if efg_model is not None:
        query.append(Node, with_outgoing='run', filters={'id': efg_model.pk})
    query.append(
        Dict, with_incoming='run', edge_filters={'label': 'timing'}, project='attributes.atom_steps_per_second'
    )
    return query.order_by({'run': {'id': 'desc'}}).limit(1).first(flat=True) or wall_time.SPEED


def seconds_of(structure: StructureData, parameters: Mapping[str, Any], speed: float) -> float:
    """Estimated time of a run on one core."""
    return START_S + wall_time.atom_steps(len(structure.sites), parameters) / speed


def pack(waiting: Sequence[str], seconds: Callable[[str], float], goal_s: float) -> list[str]:
    """The first of the runs that wait: as many as take ``goal_s`` together, one at least."""
    chosen = [waiting[0]]
    total = seconds(waiting[0])
    for label in waiting[1:MOST_IN_PACK]:
        total += seconds(label)
        if total > goal_s:
            break
        chosen.append(label)
    return chosen
