"""Print what the runs of β, γ and glass say at 300 K, beside published values, and what each run says.

::

    python examples/results/compared.py FOLDER/li3ps4-*.aiida
"""

from __future__ import annotations

from collections.abc import Iterator

from kept import HARPER, NAMES, Runs, laws, main

from aiida_ufpnmr.engine.analyses.arrhenius import QUANTITIES
from aiida_ufpnmr.engine.commands.shared import print_table
from aiida_ufpnmr.tools.answer import answer_cells, interval, with_unit

#: Of each run.
COLUMNS = ('decay time τ', 'hop rate of an ion', 'diffusion coefficient', 'mean |C_Q|', 'mean asymmetry η')


def show(runs: Runs) -> None:
    """Both tables."""
    print_table([('by the law of Arrhenius', 'material', 'published', 'here', '95 % interval'), *_of_laws(runs)])
    print()
    print_table([('run', 'temperature', *COLUMNS), *_of_runs(runs)])


def _of_laws(runs: Runs) -> Iterator[tuple[str, ...]]:
    for material, some in runs.items():
        for name, law in laws(some).items():
            symbol, unit, *_ = QUANTITIES[name]
            energy = with_unit(law.activation_energy_eV, 'eV'), interval(law.activation_energy_eV_ci95)
            yield f'activation energy of {symbol}', NAMES[material], '', *energy
            (at_300,), published = law.extrapolations, HARPER.get((name, material))
            known = '' if published is None else with_unit(published, unit)
            here = with_unit(at_300.value, unit), interval(at_300.value_ci95)
            yield f'{symbol} at 300 K', NAMES[material], known, *here


def _of_runs(runs: Runs) -> Iterator[tuple[str, ...]]:
    for material, some in runs.items():
        for run in some:
            yield NAMES[material], f'{run.temperature_K:g} K', *answer_cells(run.answer, COLUMNS)


if __name__ == '__main__':
    main(__doc__, show, draws=False)
