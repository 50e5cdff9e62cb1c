"""The law of Arrhenius through the answers of runs at several temperatures, on record."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

from aiida.engine import calcfunction
from aiida.orm import Data, Dict, SinglefileData

from aiida_ufpnmr.engine.analyses.arrhenius import ArrheniusResult, fit_each, plot_laws


@calcfunction
def fit_rates(parameters: Dict, **answers: Dict) -> dict[str, Data]:
    """Fit the law of Arrhenius to diffusion coefficient, hop rate and decay rate.

    Args:
        parameters: ``temperatures_K``, by label of the run, and ``extrapolate_K``.
        answers: what :func:`~aiida_ufpnmr.calculations.summarise.summarise` gave, by label of the run.

    Returns:
        ``arrhenius``: ``laws`` by quantity, and in ``refused`` the reason why there is none for others; where there is
        a law, the ``figure`` of all, and under the name of each quantity its law as HDF5.
    """
    chosen = parameters.get_dict()
    results = [(chosen['temperatures_K'][label], label, answers[label].get_dict()) for label in sorted(answers)]
    laws, refused = fit_each(results, chosen['extrapolate_K'])
    found: dict[str, Data] = {
        'arrhenius': Dict({'laws': {name: law.to_dict() for name, law in laws.items()}, 'refused': refused})
    }
    if laws:
        found['figure'] = _figure(list(laws.values()))
    return found | {name: _file(law) for name, law in laws.items()}


def _figure(laws: Sequence[ArrheniusResult]) -> SinglefileData:
    image = io.BytesIO()
    plot_laws(laws).savefig(image, format='png', dpi=150)
    image.seek(0)
    return SinglefileData(image, filename='arrhenius.png')


def _file(law: ArrheniusResult) -> SinglefileData:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'arrhenius.h5'
        law.save(path)
        return SinglefileData(path)
