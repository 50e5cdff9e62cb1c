"""What the scripts of this folder share: the runs that an archive holds, and a command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiida import load_profile, orm
from aiida.storage.sqlite_zip.backend import SqliteZipBackend
from matplotlib.figure import Figure

from aiida_ufpnmr.engine.analyses import get_analysis
from aiida_ufpnmr.engine.analyses.arrhenius import ArrheniusResult, fit_each
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.figure_style import BLUE, GREEN, ORANGE
from aiida_ufpnmr.tools.arrhenius_page import runs_of
from aiida_ufpnmr.tools.queries import outputs_of
from aiida_ufpnmr.tools.verification import open_archive

#: How materials are drawn.
NAMES = {'beta': 'β-Li₃PS₄', 'gamma': 'γ-Li₃PS₄', 'glass': 'glass'}
COLOURS = {'beta': BLUE, 'gamma': GREEN, 'glass': ORANGE}

#: At 300 K; Harper et al. 2024.
HARPER = {('hop_rate_per_s', 'beta'): 2.57e5, ('hop_rate_per_s', 'glass'): 7.0e7, ('decay_rate_per_s', 'glass'): 2.17e7}


@dataclass(frozen=True)
class KeptRun:
    """A run of dynamic NMR: its temperature, its answer, and what the analysis found that a figure needs."""

    temperature_K: float
    name: str
    answer: dict[str, Any]
    result: Any = None


Runs = Mapping[str, list[KeptRun]]


def kept_runs(archives: Sequence[str], analysis: str) -> dict[str, list[KeptRun]]:
    """The runs that have this analysis (any, where it is empty), by material and in the order of their temperatures.

    Raises:
        InputError: no archive, or none of such runs.
    """
    runs: dict[str, list[KeptRun]] = {}
    for archive in archives:
        open_archive(archive).close()
        load_profile(SqliteZipBackend.create_profile(archive), allow_switch=True)
        for node in _named():
            material = node.label.partition('-')[0]
            for run in runs_of(node) if 'arrhenius' in node.outputs else [node]:
                outputs = outputs_of(run)
                there = {**outputs, **outputs.get('analyses', {})}
                if 'tau' in outputs and (not analysis or analysis in there):
                    found = _load(there[analysis], analysis) if analysis else None
                    temperature_K = run.inputs.md.parameters['temperature']
                    runs.setdefault(material, []).append(
                        KeptRun(temperature_K, run.uuid, outputs.tau.get_dict(), found)
                    )
    if not runs:
        wanted = f' with {analysis}' if analysis else ''
        raise InputError(f'{", ".join(archives)}: holds none of the runs{wanted} that examples/results/li3ps4.sh makes')
    return {name: sorted(runs[name], key=lambda run: run.temperature_K) for name in NAMES if name in runs}


def _named() -> list[orm.WorkChainNode]:
    """What was launched under the name of a material."""
    kinds = {'attributes.process_label': {'in': ['ArrheniusWorkChain', 'DynamicNmrWorkChain']}}
    query = orm.QueryBuilder().append(orm.WorkChainNode, filters=kinds, tag='node').order_by({'node': 'ctime'})
    return [node for node in query.all(flat=True) if node.label.partition('-')[0] in NAMES]


def _load(outputs: Any, analysis: str) -> Any:
    with outputs.functions.as_path() as path:
        return get_analysis(analysis.replace('_', '-')).Result.load(path)


def laws(runs: Sequence[KeptRun]) -> dict[str, ArrheniusResult]:
    """The laws of Arrhenius through the runs of a material, by quantity, with their values at 300 K."""
    return fit_each([(run.temperature_K, run.name, run.answer) for run in runs], (300.0,))[0]


def main(words: str | None, show: Callable[[Runs], Figure | None], analysis: str = '', draws: bool = True) -> None:
    """The command of a script: archives, and where the figure goes if it draws one."""
    parser = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('archives', metavar='FILE.aiida', nargs='+')
    if draws:
        parser.add_argument('-o', '--output', metavar='FIGURE.png', required=True)
    given = parser.parse_args()
    try:
        figure = show(kept_runs(given.archives, analysis))
    except InputError as error:
        parser.error(str(error))
    if figure is not None:
        figure.savefig(given.output, dpi=110)
