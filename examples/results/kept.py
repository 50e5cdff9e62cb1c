"""What the scripts of this folder share: the runs that an archive holds, and a command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from aiida import load_profile, orm
from aiida.storage.sqlite_zip.backend import SqliteZipBackend
from matplotlib.figure import Figure

from aiida_ufpnmr.engine.analyses import get_analysis
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.figure_style import BLUE, GREEN, ORANGE
from aiida_ufpnmr.tools.arrhenius_page import runs_of
from aiida_ufpnmr.tools.queries import outputs_of
from aiida_ufpnmr.tools.verification import open_archive

#: How materials are drawn.
NAMES = {'beta': 'β-Li₃PS₄', 'gamma': 'γ-Li₃PS₄', 'glass': 'glass'}
COLOURS = {'beta': BLUE, 'gamma': GREEN, 'glass': ORANGE}

Runs = Mapping[str, list[orm.WorkChainNode]]


def kept_runs(archive: str) -> dict[str, list[orm.WorkChainNode]]:
    """The runs that ended well, by material and in the order of their temperatures; of a glass those of all packings.

    Raises:
        InputError: no archive, or none of such runs.
    """
    open_archive(archive).close()
    load_profile(SqliteZipBackend.create_profile(archive))
    query = orm.QueryBuilder().append(
        orm.WorkChainNode, filters={'attributes.process_label': 'ArrheniusWorkChain'}, tag='node'
    )
    runs: dict[str, list[orm.WorkChainNode]] = {}
    for batch in query.order_by({'node': 'ctime'}).all(flat=True):
        if 'arrhenius' in batch.outputs:
            ended = [run for run in runs_of(batch) if 'tau' in run.outputs]
            runs.setdefault(batch.label.partition('-')[0], []).extend(ended)
    if not set(runs) <= set(NAMES) or not runs:
        raise InputError(f'{archive}: holds none of the runs that examples/results/li3ps4.sh makes')
    return {name: sorted(runs[name], key=temperature) for name in NAMES if name in runs}


def temperature(run: orm.WorkChainNode) -> float:
    """That of the thermostat, K."""
    return run.inputs.md.parameters['temperature']


def result(run: orm.WorkChainNode, analysis: str) -> Any:
    """What an analysis of a run found."""
    outputs = outputs_of(run)
    found = outputs[analysis] if analysis in ('acf', 'msd', 'hops') else outputs.analyses[analysis]
    with found.functions.as_path() as path:
        return get_analysis(analysis.replace('_', '-')).Result.load(path)


def main(words: str | None, draw: Callable[[Runs], Figure]) -> None:
    """The command of a script: an archive, and where the figure goes."""
    parser = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('archive', metavar='FILE.aiida')
    parser.add_argument('figure', metavar='FIGURE.png')
    given = parser.parse_args()
    try:
        draw(kept_runs(given.archive)).savefig(given.figure, dpi=110)
    except InputError as error:
        parser.error(str(error))
