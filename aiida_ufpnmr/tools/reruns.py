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

from aiida_ufpnmr.data.checked_file import CheckedFileData
from aiida_ufpnmr.data.trajectory import TrajectoryData
from aiida_ufpnmr.engine.efg.hdf5_file import BEFORE_MESSAGES
from aiida_ufpnmr.engine.hdf5 import content_hash
from aiida_ufpnmr.engine.ufp.settings import STORED
from aiida_ufpnmr.tools.profile import (
    get_or_create_code,
    get_or_create_computer,
    get_or_create_profile,
    ufpnmr_executable,
)

#: Calculations that can be run again, by the names of their plug-ins, in the order of a pipeline. Labels are not among
#: them, for they take days.
STEPS = (
    *('fit_potential', 'fit_efg', 'md', 'select', 'predict_efg', 'acf'),
    *('fit_softness', 'analyse', 'softness_correlations', 'softness_onset'),
)
#: The beginning of the type of a process whose plug-in is a step.
_PROCESS_TYPE = 'aiida.calculations:ufpnmr.'
#: Outputs that say nothing about the answer.
_ASIDE = ('remote_folder', 'retrieved', 'timing', 'figure', 'checkpoint', 'trajectory_part')

#: What joins parts of a run, and the names that a run in one go gives to their outputs.
_JOINING: dict[str | None, dict[str, str]] = {
    'join_parts': {'trajectory': 'trajectory', 'results': 'results'},
    'join_stopped': {'result': 'stopped_trajectory'},
    'JoinTrajectoryCalculation': {'trajectory': 'trajectory'},
}


@dataclass(frozen=True)
class Comparison:
    """An output of a calculation that was run again, beside what it was.

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
        (Path(folder) / '.aiida').mkdir()  # AiiDA warns where it has to make it
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
    reruns = _Reruns(load_code('ufpnmr@localhost'), tolerance)
    for step in (step for step in STEPS if step in steps):
        for node in _calculations(step):
            reruns.run(node)
    return reruns.found


def _calculations(step: str) -> list[CalcJobNode]:
    """Calculations of a step that gave something; of a run in parts the first, which is then run in one go."""
    query = QueryBuilder().append(CalcJobNode, filters={'process_type': f'{_PROCESS_TYPE}{step}'}, tag='job')
    jobs = query.order_by({'job': 'id'}).all(flat=True)
    return [node for node in jobs if 'checkpoint' not in node.inputs and _outputs(node)]


def made_again(data: CheckedFileData, code: AbstractCode, tolerance: float) -> tuple[Data, list[Comparison]]:
    """Run what made the file of a node again, where it was left out of an archive, in the loaded profile.

    Returns:
        The new node, and how all that was run compares with what it was.

    Raises:
        RuntimeError: it does not come out again.
    """
    reruns = _Reruns(code, tolerance)
    return reruns.there(data), reruns.found


class _Reruns:
    """Runs calculations again, each once, and first what made those of their inputs that were left out."""

    def __init__(self, code: AbstractCode, tolerance: float):
        self.code, self.tolerance = code, tolerance
        self.found: list[Comparison] = []
        self._remade: dict[str, Data] = {}
        self._done: set[str] = set()

    def run(self, node: CalcJobNode) -> None:
        """Run a calculation again, and compare what comes out."""
        if node.uuid in self._done:
            return
        self._done.add(node.uuid)
        step = str(node.process_type).removeprefix(_PROCESS_TYPE)
        inputs = self._inputs(node)
        print(f'{step} {node.uuid} ...', file=sys.stderr, flush=True)
        calculation: Any = CalculationFactory(f'ufpnmr.{step}')
        made, again = run_get_node(calculation, **inputs)
        for label, expected in sorted(_outputs(node).items()):
            if label in made:
                self._remade[expected.uuid] = made[label]
                verdict, detail = compare(expected, made[label], self.tolerance)
            else:
                verdict, detail = 'differs', f'is not there: {again.exit_message or "it ended well this time"}'
            self.found.append(Comparison(step=step, uuid=node.uuid, output=label, verdict=verdict, detail=detail))

    def _inputs(self, node: CalcJobNode) -> dict[str, Any]:
        """The inputs as they were, with this machine's code, and made again where they were left out."""
        inputs: dict[str, Any] = {}
        for link in node.base.links.get_incoming(link_type=LinkType.INPUT_CALC):
            *spaces, name = link.link_label.split('__')
            place = inputs
            for space in spaces:
                place = place.setdefault(space, {})
            place[name] = self.there(link.node)
        if node.process_type == f'{_PROCESS_TYPE}fit_efg':
            inputs.update(_settings_of_then(node))
        return {**inputs, 'code': self.code}

    def there(self, data: Any) -> Data:
        """Data that were there all along, or that are made again first."""
        if not isinstance(data, CheckedFileData) or data.left_out_bytes is None:
            return data
        if data.uuid not in self._remade:
            self.run(_maker(data))
        if data.uuid not in self._remade:
            raise RuntimeError(f'{type(data).__name__} {data.uuid}: was left out, and could not be made again')
        return self._remade[data.uuid]


def _settings_of_then(node: CalcJobNode) -> dict[str, Dict]:
    """The settings of a fit, with the defaults of its time written out, since those may have changed."""
    parameters = node.inputs.parameters.get_dict()
    if parameters.get('tune') or parameters.get('protocol') or 'results' not in node.outputs:
        return {}
    return {'settings': Dict({**BEFORE_MESSAGES, **node.outputs.results.get_dict()['settings']})}


def _maker(data: Data) -> CalcJobNode:
    """The calculation to run for data to come out: its creator, or the first of those whose parts were joined."""
    made_by = data.creator
    if made_by.process_label not in _JOINING:
        return made_by
    parts = [link.node.creator for link in made_by.base.links.get_incoming(node_class=TrajectoryData)]
    return next(part for part in parts if 'checkpoint' not in part.inputs)


def _outputs(node: CalcJobNode) -> dict[str, Any]:
    """Outputs of a calculation, by their labels; of the part of a run, the data that the parts were joined to."""
    if not node.is_finished_ok and 'stopped_trajectory' not in node.outputs:
        return _joined(node)
    links = node.base.links.get_outgoing(link_type=LinkType.CREATE)
    return {link.link_label: link.node for link in links if link.link_label not in _ASIDE}


def _joined(node: CalcJobNode) -> dict[str, Any]:
    """Data that were joined from the parts of a run of which this is one."""
    if 'trajectory_part' not in node.outputs:
        return {}
    for link in node.outputs.trajectory_part.base.links.get_outgoing(link_type=LinkType.INPUT_CALC):
        if link.node.process_label in _JOINING:
            made = link.node.base.links.get_outgoing(link_type=LinkType.CREATE)
            names = _JOINING[link.node.process_label]
            return {names[one.link_label]: one.node for one in made if one.link_label in names}
    return {}


def compare(expected: Data, found: Any, tolerance: float) -> tuple[str, str]:
    """The verdict on an output, and what differs."""
    if isinstance(expected, Dict):
        return _compare_values(_results(expected), _results(found), tolerance)
    if isinstance(expected, CheckedFileData):
        same = expected.sha256 == found.sha256
        detail = f'hash {found.sha256[:12]}, not {expected.sha256[:12]}'
    elif isinstance(expected, SinglefileData) and Path(expected.filename).suffix == '.h5':
        with expected.as_path() as one, found.as_path() as other:
            same, detail = content_hash(one) == content_hash(other), 'the content of the file'
    else:
        same = expected.base.caching.compute_hash() == found.base.caching.compute_hash()
        detail = 'the content of the node'
    return ('identical', '') if same else ('differs', detail)


def _results(node: Dict) -> dict[str, Any]:
    """Results of a calculation, with settings under the names that they have today."""
    names = {stored: name for name, stored in STORED.items()}
    values = {names.get(name, name): value for name, value in node.get_dict().items()}
    if isinstance(values.get('settings'), dict):
        values['settings'] = {names.get(name, name): value for name, value in values['settings'].items()}
    return {name: value for name, value in values.items() if name not in ('versions', 'timing')}


def _compare_values(expected: Any, found: Any, tolerance: float) -> tuple[str, str]:
    """The verdict on plain values, at any depth; what settings and validation did not state then has no say."""
    one, other = dict(_leaves(expected)), dict(_leaves(found))
    verdict = 'identical'
    for name in sorted({*one, *other}):
        if name not in one and name.startswith(('settings.', 'validation.')):
            continue
        a, b = one.get(name), other.get(name)
        if a == b and type(a) is type(b):
            continue
        numbers = [float(value) for value in (a, b) if isinstance(value, (int, float)) and not isinstance(value, bool)]
        if len(numbers) < 2 or not np.isclose(numbers[0], numbers[1], rtol=tolerance, atol=0):
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
    path, output, tolerance, *steps = sys.argv[1:]
    get_or_create_profile('verify')
    get_or_create_computer()
    get_or_create_code(ufpnmr_executable())
    with override_log_level(logging.WARNING):
        import_archive(path)
        try:
            found = rerun(steps, float(tolerance))
        except RuntimeError as error:
            sys.exit(str(error))
    Path(output).write_text(json.dumps([asdict(one) for one in found]))


if __name__ == '__main__':
    main()
