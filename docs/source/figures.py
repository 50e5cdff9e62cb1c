"""Draws the figures of these pages as the commands do, from made-up processes and from runs that are kept."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.spatial.transform import Rotation

from aiida_ufpnmr.engine.active.figures import plot_history
from aiida_ufpnmr.engine.analyses import get_analysis
from aiida_ufpnmr.engine.analyses.acf import plot_acf, plot_single_ions
from aiida_ufpnmr.engine.analyses.base import PathSource, Result, TensorSource
from aiida_ufpnmr.engine.analyses.by_site import by_site
from aiida_ufpnmr.engine.analyses.hops import plot_hops
from aiida_ufpnmr.engine.analyses.microstructure import plot_grain_sizes, plot_polycrystals
from aiida_ufpnmr.engine.analyses.msd import plot_msd
from aiida_ufpnmr.engine.analyses.orientations import plot_orientations
from aiida_ufpnmr.engine.analyses.relaxation import plot_points, plot_relaxation_times
from aiida_ufpnmr.engine.analyses.sites import SitesResult, SiteSummary, plot_distribution
from aiida_ufpnmr.engine.efg.isotopes import get_isotope
from aiida_ufpnmr.engine.figure_style import BLUE, ORANGE, finish
from aiida_ufpnmr.engine.nmr.orientations import orientation_maps
from aiida_ufpnmr.engine.nmr.runs import EfgRuns
from aiida_ufpnmr.engine.structure.sites import Sites, SiteSettings
from aiida_ufpnmr.engine.trajectories.paths import IonPaths
from aiida_ufpnmr.engine.trajectories.trajectory import EfgSeries
from aiida_ufpnmr.tools.manifest import database_of

IONS, FRAMES, STEP_FS = 40, 6000, 1000.0
LITHIUM = get_isotope('7Li')
#: Fourfold and sixfold site of a crystal: tensors of two sizes with one orientation, a.u.
SITES = 1e-2 * np.array([np.diag([-0.2, -0.65, 0.85]), np.diag([-0.1, -1.2, 1.3])])


def _jumps(rng: np.random.Generator, per_frame: float) -> np.ndarray:
    """(frames, ions) number of jumps so far."""
    return np.cumsum(rng.random((FRAMES, IONS)) < per_frame, axis=0)


def _runs(tensors: np.ndarray) -> EfgRuns:
    return EfgRuns.of(EfgSeries('Li', np.arange(IONS), STEP_FS * np.arange(FRAMES), tensors))


def _noise(rng: np.random.Generator) -> np.ndarray:
    v = 2e-3 * rng.standard_normal((FRAMES, IONS, 3, 3))
    v = v + v.swapaxes(-1, -2)
    return v - np.eye(3) * np.trace(v, axis1=-2, axis2=-1)[..., None, None] / 3


def _analyse(name: str, made: EfgRuns | IonPaths, **settings) -> Result:
    """The result of an analysis of what is in memory."""
    analysis = get_analysis(name)
    chosen = analysis.Settings(**settings)
    source = (TensorSource if isinstance(made, EfgRuns) else PathSource)((), chosen)
    vars(source)['runs' if isinstance(made, EfgRuns) else 'paths'] = made
    return analysis.function(source, chosen)


def kept_history() -> list[dict]:
    """The generations of the run of active learning that is kept with the examples."""
    archive = Path(__file__).parents[2] / 'examples' / 'archives' / 'li3ps4-active-learning.aiida'
    with zipfile.ZipFile(archive) as file, database_of(file) as database:
        rows = database.execute('SELECT attributes FROM db_dbnode WHERE attributes LIKE \'%"generations"%\'')
        (history,) = {attributes for (attributes,) in rows}
    return json.loads(history)['generations']


def plot_cutoffs(axis: Axes) -> None:
    """Errors on crystals against speed, by the cut-offs of triplets: recorded by ``benchmarks/cutoffs.py``."""
    for found in json.loads(Path(__file__).with_name('cutoffs.json').read_text()):
        cutoffs = found['triplet_cutoff_angstrom']
        equal = len(set(cutoffs.values())) == 1
        place = found['atom_steps_per_cpu_second'] / 1e5, found['forces_rmse_meV_per_angstrom']['crystals']
        axis.plot(*place, ls='none', marker='o', ms=6, color=ORANGE if equal else BLUE)
        text = ' '.join(f'{symbol} {value:g}' for symbol, value in cutoffs.items())
        axis.annotate(f'all {cutoffs["P"]:g}' if equal else text, place, (5, 5), textcoords='offset points', fontsize=8)
    axis.margins(0.3, 0.1)
    axis.set_xlabel('10$^5$ atom-steps a second, one core')
    axis.set_ylabel('RMSE of forces on crystals set aside (meV/Å)')
    finish(axis, legend=False)


def draw(folder: Path) -> None:
    """Write all figures as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    site = (_jumps(rng, 0.003) + rng.integers(0, 2, IONS)) % 2
    crystal = _runs(SITES[site] + _noise(rng))
    jumps = _jumps(rng, 0.01)
    turns = Rotation.random(int(jumps.max() + 1) * IONS, random_state=0).as_matrix()
    here = turns[jumps * IONS + np.arange(IONS)]
    glass = _runs(here @ SITES[0] @ here.swapaxes(-1, -2) + _noise(rng))
    in_crystal, in_glass = (
        _analyse('acf', runs, bootstrap=50, decays=1, gamma=1.0).observables for runs in (crystal, glass)
    )

    def save(name: str, panels: int, plot, height: float = 4.0) -> None:
        figure = Figure(figsize=(5.2 * panels, height), layout='constrained')
        plot(*figure.subplots(1, panels, squeeze=False)[0])
        figure.savefig(folder / f'{name}.png', dpi=110)

    save('cutoffs', 1, plot_cutoffs)
    save('learning', 3, lambda *axes: plot_history(kept_history(), *axes), 3.6)
    place = 3.0 * jumps[..., None] * np.array([1.0, 0, 0])
    place = np.cumsum(np.diff(place, axis=0, prepend=place[:1]) * rng.choice([-1, 1], (FRAMES, IONS, 1)), axis=0)
    place = place + 0.3 * rng.standard_normal((FRAMES, IONS, 3))
    paths = IonPaths('Li', np.arange(IONS), STEP_FS * 1e-3, place, 'framework')
    moved, hops = _analyse('msd', paths), _analyse('hops', paths)
    save('motion', 2, lambda one, two: (plot_msd(moved, one), plot_hops(hops, 0, two)))
    powder = in_crystal['omega_q_powder'], in_glass['omega_q_powder']
    save('correlation', 2, lambda one, two: (plot_acf(in_crystal['c_q'], one), plot_acf(powder[1], two)), 4.4)
    names = SiteSettings().names('Li')
    save('single_ions', 1, lambda one: plot_single_ions(in_crystal['c_q'], site[0], names, one))

    coordination = (4.1 + 1.8 * site + 0.2 * rng.standard_normal(site.shape)).astype(np.float32)
    times = STEP_FS * np.arange(FRAMES)
    sites = Sites('Li', np.arange(IONS), times, coordination, site.astype(np.int8), SiteSettings())
    densities = by_site(crystal, sites, LITHIUM, (0.0, 0.8, 0.6))
    shares = {name: SiteSummary(share=float((site == number).mean())) for number, name in enumerate(names)}
    found = SitesResult(sites.index, times, sites.site, coordination, shares, densities, 0, 0.0)
    save(
        'sites',
        2,
        lambda one, two: (plot_distribution(found, 'omega_q_khz', one), plot_distribution(found, 'c_q_khz', two)),
    )
    maps = [orientation_maps(runs, (0.0, 0.8, 0.6))['all'].field_in_axes for runs in (crystal, glass)]
    save(
        'orientations',
        2,
        lambda one, two: (plot_orientations(maps[0], one, 'crystal'), plot_orientations(maps[1], two, 'glass')),
    )
    grains = _analyse('microstructure', crystal, grain_nm=(10, 100, 1000), diffusion=(1e-10, 1e-8), isotope='7Li')
    save('grains', 2, lambda one, two: (plot_polycrystals(grains, one), plot_grain_sizes(grains, two)), 4.4)
    distribution = _analyse('relaxation', glass, non_negative=True)
    save('relaxation', 2, lambda one, two: (plot_points(distribution, one), plot_relaxation_times(distribution, two)))


def draw_materials(folder: Path) -> None:
    """Draw the figures of pages that have an archive of their name from it, by the program that these pages name."""
    source = Path(__file__).parent
    examples = source.parents[1] / 'examples'
    for page in source.glob('*/*.rst'):
        archive = examples / 'archives' / f'{page.stem}.aiida'
        if archive.exists():
            command = [sys.executable, examples / 'materials' / 'results.py', archive, folder / page.stem]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
