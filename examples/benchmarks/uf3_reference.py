"""CPU time of the UF3 package on labelled structures: run by the Python that ``ufp_fit.py --uf3-python`` names.

The release on PyPI needs numpy 1.26::

    python -m venv uf3 && uf3/bin/pip install uf3==0.4.0 numpy==1.26.4

Nothing of this project is imported. The request is JSON on standard input: ``file``, ``structures`` (indices),
``species``, and the grid (``start``, ``pair_cutoff``, ``triplet_cutoff``, ``pair_intervals``, ``bond_intervals``,
``third_intervals``). The answer is JSON on standard output.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1', MKL_NUM_THREADS='1', NUMBA_NUM_THREADS='1')

import json
import sys
import time
from importlib.metadata import version

import ase.io
import numpy as np
from uf3.data import composition, io
from uf3.regression.least_squares import WeightedLinearModel, freeze_regularizer, lu_factorization
from uf3.representation.bspline import BSplineBasis
from uf3.representation.process import BasisFeaturizer


def make_basis(request: dict) -> BSplineBasis:
    """Equal grids for all species."""
    system = composition.ChemicalSystem(element_list=request['species'], degree=3)
    pairs, triplets = system.interactions_map[2], system.interactions_map[3]
    start, bond, bonds = request['start'], request['triplet_cutoff'], request['bond_intervals']
    return BSplineBasis(
        system,
        r_min_map={**dict.fromkeys(pairs, start), **{triplet: [start] * 3 for triplet in triplets}},
        r_max_map={
            **dict.fromkeys(pairs, request['pair_cutoff']),
            **{triplet: [bond, bond, 2 * bond] for triplet in triplets},
        },
        resolution_map={
            **dict.fromkeys(pairs, request['pair_intervals']),
            **{triplet: [bonds, bonds, request['third_intervals']] for triplet in triplets},
        },
        leading_trim=0,
        trailing_trim=3,
    )


def main() -> None:
    request = json.load(sys.stdin)
    frames = ase.io.read(request['file'], ':')
    chosen = [frames[index] for index in request['structures']]
    atoms = sum(map(len, chosen))
    basis = make_basis(request)
    featurizer = BasisFeaturizer(basis)
    # compiles on a handful of atoms; energies need no reference, since no error is looked at
    small = chosen[0][:4]
    featurizer.evaluate_configuration(small, energy=0.0, forces=np.zeros((3, len(small))))
    table = io.prepare_dataframe_from_lists(
        chosen, 'x', energies=[frame.get_potential_energy() for frame in chosen],
        forces=[frame.get_forces() for frame in chosen],
    )  # fmt: skip
    begin = time.process_time()
    rows = featurizer.evaluate(table, progress=None)
    features_cpu_s = time.process_time() - begin

    begin = time.process_time()
    model = WeightedLinearModel(basis)
    regularizer = freeze_regularizer(model.regularizer, model.mask)
    penalty = regularizer.T @ regularizer
    penalty_cpu_s = time.process_time() - begin
    begin = time.process_time()
    gram_e, gram_f, ordinate_e, ordinate_f = model.gram_from_df(rows, rows.index.unique(level=0))
    equations_cpu_s = time.process_time() - begin
    begin = time.process_time()
    lu_factorization(gram_e + gram_f + penalty, ordinate_e + ordinate_f)
    json.dump(
        {
            'version': version('uf3'),
            'atoms': atoms,
            'columns': len(gram_e),
            'features_cpu_s_per_1000_atoms': 1000 * features_cpu_s / atoms,
            'equations_cpu_s_per_1000_atoms': 1000 * equations_cpu_s / atoms,
            'solution_cpu_s': penalty_cpu_s + time.process_time() - begin,
        },
        sys.stdout,
    )


if __name__ == '__main__':
    main()
