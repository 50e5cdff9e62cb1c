"""Run calculations of an archive again on this machine, in a profile of their own, and compare what comes out.

As a program it works in the profile under AIIDA_PATH, which it makes::

    AIIDA_PATH=FOLDER python -m aiida_ufpnmr.tools.reruns result.aiida found.json md acf
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from aiida.common.links import LinkType
from aiida.common.log import override_log_level
from aiida.engine import run_get_node
from aiida.orm import AbstractCode, CalcJobNode, Data, Dict, QueryBuilder, SinglefileData, load_code
from aiida.plugins import CalculationFactory
from aiida.tools.archive import import_archive

from aiida_ufpnmr.calculations.join_parts import join_parts
from aiida_ufpnmr.data.checked_file import CheckedFileData
from aiida_ufpnmr.data.trajectory import TrajectoryData
from aiida_ufpnmr.engine.hdf5 import content_hash

#: What can be run again: each by the name of its plug-in, in the order of a pipeline. Labels are not among them, for they
#: take days.
STEPS = ('fit_potential', 'fit_efg', 'md', 'predict_efg', 'acf', 'analyse')
#: Outputs that say nothing about the answer.
_ASIDE = ('remote_folder', 'retrieved', 'timing', 'figure', 'checkpoint', 'trajectory_part')


@dataclass(frozen=True)
class Comparison:
    """One output of a calculation that was run again.

    Attributes:
        step, uuid: the calculation of the archive.
        output: the label of the output.
        verdict: ``identical``, ``equal numbers`` (within the tolerance), or ``differs``.
        detail: where it differs first, and by how much.
    """

    step: str
    uuid: str
    output: str
    verdict: str
    detail: str = ''


def rerun_archive(path: Path, steps: Sequence[str], tolerance: float) -> list[Comparison]:
    """Import an archive into a fresh private profile, run its calculations of these steps again there, and compare.

    Args:
        steps: see :data:`STEPS`.
        tolerance: relative difference up to which numbers are equal.

    Raises:
        RuntimeError: it could not be run; the message says why.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / 'found.json'
        command = [sys.executable, '-m', 'aiida_ufpnmr.tools.reruns', path.absolute(), found, repr(tolerance), *steps]
        done = subprocess.run(
            list(map(str, command)), env={**os.environ, 'AIIDA_PATH': folder}, stdout=subprocess.PIPE, text=True
        )
        if done.returncode or not found.exists():
            raise RuntimeError(f'{path}: could not be run again; see above')
        return [Comparison(**row) for row in json.loads(found.read_text())]


def rerun(steps: Sequence[str], tolerance: float) -> list[Comparison]:
    """Run the calculations of these steps in the loaded profile again, and compare."""
    code = load_code('ufpnmr@localhost')
    remade: dict[int, Data] = {}
    found: list[Comparison] = []
    for step in (step for step in STEPS if step in steps):
        for node, outputs in _calculations(step):
            print(f'{step} {node.uuid} ...', file=sys.stderr, flush=True)
            made, again = run_get_node(CalculationFactory(f'ufpnmr.{step}'), **_inputs(node, code, remade))
            if not again.is_finished_ok:
                found.append(Comparison(step, node.uuid, '-', 'differs', f'it failed: {again.exit_message}'))
                continue
            for label, expected in sorted(outputs.items()):
                remade[expected.pk] = made[label]
                found.append(Comparison(step, node.uuid, label, *compare(expected, made[label], tolerance)))
    return found


def _calculations(step: str) -> list[tuple[CalcJobNode, dict[str, Data]]]:
    """Calculations of a step that ended well, with what came out.

    Of a run in parts it is the first, which is then run in one go, with what was joined.
    """
    query = QueryBuilder().append(
        CalcJobNode, filters={'process_type': f'aiida.calculations:ufpnmr.{step}'}, tag='job'
    ).order_by({'job': 'id'})
    found = [(node, _outputs(node)) for node in query.all(flat=True) if 'checkpoint' not in node.inputs]
    return [(node, outputs) for node, outputs in found if outputs]


def _outputs(node: CalcJobNode) -> dict[str, Data]:
    if not node.is_finished_ok:
        return _joined(node)
    links = node.base.links.get_outgoing(link_type=LinkType.CREATE)
    return {link.link_label: link.node for link in links if link.link_label not in _ASIDE}


def _joined(node: CalcJobNode) -> dict[str, Data]:
    """What was joined from the parts of a run of which this is one."""
    if 'trajectory_part' not in node.outputs:
        return {}
    for link in node.outputs.trajectory_part.base.links.get_outgoing(link_type=LinkType.INPUT_CALC):
        if link.node.process_label == join_parts.__name__:
            return {made.link_label: made.node for made in link.node.base.links.get_outgoing(link_type=LinkType.CREATE)}
    return {}


def _inputs(node: CalcJobNode, code: AbstractCode, remade: dict[int, Data]) -> dict[str, Any]:
    """The inputs as they were, with this machine's code, and remade trajectories for those that were left out."""
    inputs: dict[str, Any] = {}
    for link in node.base.links.get_incoming(link_type=LinkType.INPUT_CALC):
        given = link.node
        left_out = isinstance(given, TrajectoryData) and given.left_out_bytes is not None
        inputs[link.link_label] = remade.get(given.pk, given) if left_out else given
    return {**inputs, 'code': code}


def compare(expected: Data, found: Data, tolerance: float) -> tuple[str, str]:
    """The verdict on an output, and what differs."""
    if isinstance(expected, CheckedFileData):
        same = expected.sha256 == found.sha256
        return ('identical', '') if same else ('differs', f'hash {found.sha256[:12]}, not {expected.sha256[:12]}')
    if isinstance(expected, Dict):
        return _compare_values(_results(expected), _results(found), tolerance)
    if isinstance(expected, SinglefileData) and Path(expected.filename).suffix == '.h5':
        with expected.as_path() as one, found.as_path() as other:
            same = content_hash(one) == content_hash(other)
        return ('identical', '') if same else ('differs', 'the content of the file')
    same = expected.base.caching.compute_hash() == found.base.caching.compute_hash()
    return ('identical', '') if same else ('differs', 'the content of the node')


def _results(node: Dict) -> dict[str, Any]:
    return {name: value for name, value in node.get_dict().items() if name not in ('versions', 'timing')}


def _compare_values(expected: Any, found: Any, tolerance: float) -> tuple[str, str]:
    """Plain values, at any depth."""
    one, other = dict(_leaves(expected)), dict(_leaves(found))
    verdict = 'identical'
    for name in sorted({*one, *other}):
        a, b = one.get(name), other.get(name)
        if a == b and type(a) is type(b):
            continue
        numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (a, b))
        if not numbers or not np.isclose(a, b, rtol=tolerance, atol=0):
            return 'differs', f'{name}: {b}, not {a}'
        verdict = 'equal numbers'
    return verdict, ''


def _leaves(value: Any, name: str = ''):
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _leaves(below, f'{name}.{key}' if name else str(key))
    elif isinstance(value, (list, tuple)):
        for number, below in enumerate(value):
            yield from _leaves(below, f'{name}[{number}]')
    else:
        yield name, value


def main() -> None:
    """Work in the profile under AIIDA_PATH; see the top of this file."""
    from aiida_ufpnmr.cli.setup import get_or_create_code, get_or_create_computer, get_or_create_profile, ufpnmr_executable

    path, output, tolerance, *steps = sys.argv[1:]
    get_or_create_profile('verify')
    get_or_create_computer()
    get_or_create_code(ufpnmr_executable())
    with override_log_level(logging.WARNING):
        import_archive(path)
        found = rerun(steps, float(tolerance))
    Path(output).write_text(json.dumps([asdict(one) for one in found]))


if __name__ == '__main__':
    main()
