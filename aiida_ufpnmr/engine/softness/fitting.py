"""The fit of a softness model by logistic regression, and its accuracy on what was withheld."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import content_hash, versions
from aiida_ufpnmr.engine.settings import stated_values
from aiida_ufpnmr.engine.softness.features import Features
from aiida_ufpnmr.engine.softness.model import (
    SoftnessModel,
    SoftnessSettings,
    check_distinct,
    hash_of_runs,
    standardised,
)
from aiida_ufpnmr.engine.softness.rearrangements import IMMOBILE, MOBILE, UNDECIDED
from aiida_ufpnmr.engine.softness.samples import Samples, read_samples

#: Features that vary less than this are not stretched any further: nothing was there to learn from.
LEAST_SPREAD = 1e-3
#: Withheld runs that an interval from run to run needs; with fewer, ions are resampled.
FEWEST_RUNS = 5
#: Shares of the training set in the learning curve, and points of the ROC that are kept.
CURVE_SHARES, ROC_POINTS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0), 200
#: Bins of softness, between these quantiles of that of the training set.
BINS, BIN_QUANTILES = 10, (0.02, 0.98)
#: Bins of the histograms by label.
HISTOGRAM_BINS = 40


def fit_softness(
    runs: Sequence[Path], settings: SoftnessSettings = SoftnessSettings(), withheld: Sequence[Path] = ()
) -> tuple[SoftnessModel, dict[str, Any]]:
    """Fit a model to runs and judge it on others, or on parts of them withheld in turn.

    Returns:
        The model, fitted to all ``runs``, and JSON-ready results.

    Raises:
        InputError: a run that cannot be used or is given twice, or labels of one kind only.
    """
    paths = [Path(path) for path in (*runs, *withheld)]
    hashes = [content_hash(path) for path in paths]
    check_distinct([str(path) for path in paths], hashes)
    features, everything = read_samples(paths, settings)
    training = everything.of(everything.run < len(runs))
    model = _fit(features, training, settings, hashes[: len(runs)])
    folds, method = _folds(everything, len(runs), len(withheld), settings)
    tested = [(_fit(features, everything.of(train), settings), everything.of(test)) for train, test in folds]
    softness = np.concatenate([one.softness(test.features) for one, test in tested])
    test = Samples(*(np.concatenate([getattr(t, name) for _, t in tested]) for name in vars(training)))
    judged = judge(test, softness, settings)
    return model, {
        'species': settings.species,
        'runs': len(runs),
        'withheld_runs': len(withheld),
        'samples': len(training.label),
        'mobile': float((training.label == MOBILE).mean()),
        'immobile': float((training.label == IMMOBILE).mean()),
        'undecided': float((training.label == UNDECIDED).mean()),
        **judged,
        'train': scores(training.decided(), model.softness(training.decided().features)),
        'validation': {'method': method, 'folds': len(folds)},
        'roc': _roc(test.decided(), softness[test.label != UNDECIDED]),
        'learning_curve': _learning_curve(features, everything, folds, settings),
        'histogram': _histogram(test.label, softness),
        'weights': dict(zip(features.names, (model.weights / np.linalg.norm(model.weights)).tolist())),
        'settings': stated_values(settings),
        'training_sha256': model.training_sha256,
        'versions': {**versions(), 'scikit_learn': sklearn.__version__},
    }


def _fit(
    features: Features, samples: Samples, settings: SoftnessSettings, contents: Sequence[str] = ()
) -> SoftnessModel:
    decided = _thinned(samples.decided(), settings.most_samples, settings.seed)
    if len(np.unique(decided.label)) < 2:
        raise InputError(
            f'no {"mobile" if MOBILE not in decided.label else "immobile"} {settings.species} to learn from; '
            'change the rule or its limits, or give longer runs'
        )
    rows = decided.features.astype(float)
    mean, spread = rows.mean(axis=0), np.maximum(rows.std(axis=0), LEAST_SPREAD)
    regression = LogisticRegression(C=1 / settings.penalty, class_weight='balanced', max_iter=5000)
    regression.fit(standardised(rows, mean, spread), decided.label)
    model = SoftnessModel(
        features=features,
        settings=settings,
        mean=mean,
        spread=spread,
        weights=regression.coef_[0],
        offset=float(regression.intercept_[0]),
        edges=np.zeros(0),
        training_sha256=hash_of_runs(contents),
    )
    low, high = np.quantile(model.softness(samples.features), BIN_QUANTILES)
    return dataclasses.replace(model, edges=np.linspace(low, high, BINS + 1))


def _thinned(samples: Samples, most: int, seed: int) -> Samples:
    """At most so many samples, chosen at random."""
    if len(samples.label) <= most:
        return samples
    return samples.of(np.sort(np.random.default_rng(seed).choice(len(samples.label), most, replace=False)))


def _folds(
    samples: Samples, runs: int, withheld: int, settings: SoftnessSettings
) -> tuple[list[tuple[np.ndarray, np.ndarray]], str]:
    """Booleans (n_samples,) of training and test samples, fold by fold, and a phrase about what was withheld."""
    if withheld:
        return [(samples.run < runs, samples.run >= runs)], f'{withheld} runs withheld from the fit'
    by_run = runs > 1
    unit = samples.run if by_run else samples.ion
    number = min(settings.folds, len(np.unique(unit)))
    part = np.random.default_rng(settings.seed).permutation(int(unit.max()) + 1) % number
    folds = [(part[unit] != fold, part[unit] == fold) for fold in range(number)]
    what = 'whole runs' if by_run else 'ions of the one run'
    return folds, f'{what} withheld in turn, {number} parts; the model is fitted to everything'


def scores(samples: Samples, softness: np.ndarray, weight: np.ndarray | None = None) -> dict[str, float]:
    """Accuracy, its mean over mobile and immobile ions, and the area below the ROC, of decided samples.

    Args:
        samples: with labels.
        softness: (n_samples,).
        weight: (n_samples,) what each counts; one by default. NaN where one kind of label has none.
    """
    weight = np.ones(len(softness)) if weight is None else weight
    mobile, right = samples.label == MOBILE, (softness > 0) == (samples.label == MOBILE)
    if not (weight[mobile].sum() > 0 and weight[~mobile].sum() > 0):
        return dict.fromkeys(('accuracy', 'balanced_accuracy', 'roc_auc'), np.nan)
    by_kind = [np.average(right[of], weights=weight[of]) for of in (mobile, ~mobile)]
    return {
        'accuracy': float(np.average(right, weights=weight)),
        'balanced_accuracy': float(np.mean(by_kind)),
        'roc_auc': float(roc_auc_score(mobile, softness, sample_weight=weight)),
    }


def judge(samples: Samples, softness: np.ndarray, settings: SoftnessSettings) -> dict[str, Any]:
    """The :func:`scores` with 95 % intervals by bootstrap, and what was resampled for these.

    Whole runs are resampled where there are enough of them, otherwise ions with all their windows, which leaves out
    how runs differ.

    Raises:
        InputError: no withheld ion of one kind.
    """
    decided, softness = samples.decided(), softness[samples.label != UNDECIDED]
    if len(np.unique(decided.label)) < 2:
        raise InputError('no mobile or no immobile ion in what is withheld; withhold more, or longer runs')
    by_run = len(np.unique(decided.run)) >= FEWEST_RUNS
    unit = np.unique(decided.run if by_run else decided.ion_of_run, return_inverse=True)[1]
    rng, n_units = np.random.default_rng(settings.seed), int(unit.max()) + 1
    times = rng.multinomial(n_units, np.full(n_units, 1 / n_units), settings.bootstrap).astype(float)
    resampled = [scores(decided, softness, one[unit]) for one in times]
    found: dict[str, Any] = scores(decided, softness)
    for name in list(found):
        found[f'{name}_ci95'] = np.nanquantile([one[name] for one in resampled], [0.025, 0.975]).tolist()
    return {**found, 'withheld_samples': len(softness), 'intervals_by': 'run' if by_run else 'ion'}


def _roc(samples: Samples, softness: np.ndarray) -> dict[str, list[float]]:
    false, true, _ = roc_curve(samples.label == MOBILE, softness)
    kept = np.unique(np.linspace(0, len(false) - 1, ROC_POINTS).astype(int))
    return {'false_positive_rate': false[kept].tolist(), 'true_positive_rate': true[kept].tolist()}


def _learning_curve(
    features: Features, samples: Samples, folds: Sequence[tuple[np.ndarray, np.ndarray]], settings: SoftnessSettings
) -> dict[str, list[float]]:
    """Accuracy on withheld and on training samples by the number of training samples, mean and spread over folds."""
    curve: dict[str, list[float]] = {name: [] for name in ('samples', 'accuracy', 'accuracy_spread', 'train_accuracy')}
    for share in CURVE_SHARES:
        found = []
        for train, test in folds:
            few, judged = samples.of(train).decided(), samples.of(test).decided()
            few = _thinned(few, max(2, int(share * min(len(few.label), settings.most_samples))), settings.seed)
            if len(np.unique(few.label)) == 2 and len(np.unique(judged.label)) == 2:
                model = _fit(features, few, settings)
                of = [scores(one, model.softness(one.features))['balanced_accuracy'] for one in (judged, few)]
                found.append((len(few.label), *of))
        if found:
            size, withheld, training = np.array(found, float).T
            for name, value in zip(curve, (size.mean(), withheld.mean(), withheld.std(), training.mean())):
                curve[name].append(float(value))
    return curve


def _histogram(label: np.ndarray, softness: np.ndarray) -> dict[str, list[float]]:
    """Number of withheld samples by softness and label."""
    edges = np.linspace(softness.min(), softness.max(), HISTOGRAM_BINS + 1)
    found = {'softness_edges': edges.tolist()}
    for name, kind in (('mobile', MOBILE), ('immobile', IMMOBILE), ('undecided', UNDECIDED)):
        found[name] = np.histogram(softness[label == kind], edges)[0].tolist()
    return found
