"""Softness of every ion in every frame, and the probability to rearrange by softness."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aiida_ufpnmr.engine.analyses.base import Result, SnapshotSource, Table, analysis
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import content_hash
from aiida_ufpnmr.engine.records import quantity
from aiida_ufpnmr.engine.settings import setting
from aiida_ufpnmr.engine.softness.model import SoftnessModel
from aiida_ufpnmr.engine.softness.probability import RearrangementProbability, rearrangement_probability
from aiida_ufpnmr.engine.softness.rearrangements import MOBILE, UNDECIDED, find_rearrangements
from aiida_ufpnmr.engine.trajectories.snapshots import Snapshots, SnapshotSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Bins of the histogram in the figure.
BINS = 60


@dataclass(frozen=True)
class ModelSettings(SnapshotSettings):
    """Choice of the frames and of the model."""

    model: str = setting('', 'Softness model, as "ufpnmr fit-softness" writes it.', metavar='MODEL.h5')

    def load(self) -> SoftnessModel:
        """The model; :class:`InputError` where none is named, or it cannot be read."""
        if not self.model:
            raise InputError('needs a softness model; make one with "ufpnmr fit-softness" and give it with --model')
        return SoftnessModel.load(Path(self.model))


@dataclass(frozen=True)
class SoftnessResult(Result):
    """Softness of every ion in every frame."""

    KIND = 'softness'

    atom: np.ndarray = quantity('', 'indices of the ions', 'ions')
    time_ps: np.ndarray = quantity('ps', 'times after the first frame', 'times')
    softness: np.ndarray = quantity('', 'softness, single precision', 'times, ions')
    softness_mean: float = quantity('', 'mean over ions and frames')
    softness_std: float = quantity('', 'standard deviation over ions and frames')
    softness_std_of_ions: float = quantity('', 'standard deviation from ion to ion of the mean over time')
    soft_share: float = quantity('', 'share of ions and frames with a softness above zero')
    training_sha256: str = quantity('', 'hash of what the model was fitted to')
    frame: np.ndarray | None = quantity(
        '', 'frames of the trajectory; those of older files are not known', 'times', default=None
    )
    trajectory_sha256: str = quantity('', 'hash of the content of the trajectory', default='')
    accuracy: float | None = quantity(
        '', 'share of mobile and immobile ions of this run, by the rule of the model, on their side', default=None
    )
    balanced_accuracy: float | None = quantity('', 'its mean over mobile and immobile ions', default=None)
    rearrangement: RearrangementProbability | None = quantity(
        '', 'P_R(S); null where the run is shorter than a window', default=None
    )

    @property
    def headline(self) -> str:
        return f'{super().headline}: {self.soft_share:.1%} of the ions are soft'

    def table(self) -> Table:
        rows: list[tuple[str, ...]] = [('softness', 'ions and windows', 'P_R', '95 % interval')]
        mean = f'{self.softness_mean:.3f} ± {self.softness_std:.3f}'
        rows.append((mean, str(self.softness.size), '-', 'all frames'))
        found = self.rearrangement
        if found is not None:
            for n in np.flatnonzero(found.ions_and_windows):
                interval = '{:.3g} to {:.3g}'.format(*found.probability_ci95[n])
                cells = f'{found.softness[n]:.3f}', str(found.ions_and_windows[n]), f'{found.probability[n]:.3g}'
                rows.append((*cells, interval))
        return rows

    @property
    def remarks(self) -> list[str]:
        if self.rearrangement is None:
            return ['The run is shorter than a window of the model: P_R(S) is left out.']
        if self.balanced_accuracy is None:
            return []
        return [f'{self.balanced_accuracy:.1%} of mobile and immobile ions are on their side, each kind counted alike.']

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import BLUE, GREY, Figure, finish

        figure = Figure(figsize=(9.0, 3.8), layout='constrained')
        left, right = figure.subplots(1, 2)
        left.hist(self.softness.ravel(), BINS, density=True, color=BLUE)
        left.axvline(0.0, color=GREY, lw=0.8)
        left.set(xlabel='softness', ylabel='density')
        finish(left, legend=False)
        if self.rearrangement is not None:
            plot_probability(self.rearrangement, right, BLUE, '')
        right.set(xlabel='softness', ylabel='probability to rearrange')
        finish(right, legend=False)
        return figure


def plot_probability(found: RearrangementProbability, axis: Axes, colour: str, label: str) -> None:
    """Draw P_R(S) with its intervals on a logarithmic axis."""
    there = found.rearrangements > 0
    middle, limits = found.probability[there], found.probability_ci95[there].T
    apart = np.abs(limits - middle)
    axis.errorbar(found.softness[there], middle, apart, color=colour, fmt='o', ms=4, capsize=2, label=label)
    axis.set_yscale('log')


@analysis('softness', 'ufpnmr analyse softness run.h5 --model softness-model.h5 -o softness.h5 --plot softness.png')
def softness(source: SnapshotSource, settings: ModelSettings) -> SoftnessResult:
    """Softness of every ion in every frame, and the probability to rearrange by softness, P_R(S).

    Softness is the signed distance of an ion's surroundings from the plane between mobile and immobile ones that
    "ufpnmr fit-softness" found. An ion rearranges where the hop indicator passes its threshold within a window.
    """
    model, snapshots = settings.load(), source.snapshots
    found = np.concatenate([part.astype(np.float32) for part in model.parts(snapshots)])
    return SoftnessResult(
        atom=snapshots.chosen(model.features.species, 'species'),
        time_ps=1e-3 * (snapshots.time_fs - snapshots.time_fs[0]),
        softness=found,
        softness_mean=float(found.mean(dtype=float)),
        softness_std=float(found.std(dtype=float)),
        softness_std_of_ions=float(found.mean(axis=0, dtype=float).std()),
        soft_share=float((found > 0).mean()),
        training_sha256=model.training_sha256,
        frame=np.array(snapshots.frames),
        trajectory_sha256=content_hash(snapshots.path),
        **_rearrangements(snapshots, model, found),
    )


def _rearrangements(snapshots: Snapshots, model: SoftnessModel, softness: np.ndarray) -> dict:
    """What comes of the ions within the windows; nothing of a run that is shorter than one."""
    if snapshots.length_ps < model.settings.window_ps:
        return {}
    found = find_rearrangements(snapshots, model.settings)
    begins = softness[: found.n_windows * found.window : found.window]
    labels, window_ps = found.labels(), found.window * found.step_ps
    right = [((begins > 0) == (labels == MOBILE))[labels == kind] for kind in np.unique(labels[labels != UNDECIDED])]
    return {
        'accuracy': float(np.concatenate(right).mean()) if right else None,
        'balanced_accuracy': float(np.mean([one.mean() for one in right])) if len(right) == 2 else None,
        'rearrangement': rearrangement_probability(begins, found.rearranged(), model.edges, window_ps),
    }
