"""``ufpnmr fit-softness``, ``softness-onset`` and ``softness-correlations``."""

from __future__ import annotations

import click

from aiida_ufpnmr.engine.analyses.softness_correlations import CorrelationSettings
from aiida_ufpnmr.engine.analyses.softness_correlations import softness_correlations as correlations
from aiida_ufpnmr.engine.analyses.softness_onset import fit_onset, read_softness
from aiida_ufpnmr.engine.commands import fits
from aiida_ufpnmr.engine.commands.options import options_of, settings_from_options, with_options
from aiida_ufpnmr.engine.commands.shared import (
    INPUT,
    OUTPUT,
    Command,
    check_outputs,
    json_option,
    plot_option,
    print_result,
    report,
    show_result,
)
from aiida_ufpnmr.engine.files import whole_file
from aiida_ufpnmr.engine.softness.model import SoftnessSettings
from aiida_ufpnmr.engine.softness.scores import FitScores

#: Columns of the learning curve.
_CURVE = (
    ('samples', 'ions and windows', '.0f'),
    ('accuracy', 'balanced accuracy withheld', '.3f'),
    ('accuracy_spread', 'spread', '.3f'),
    ('train_accuracy', 'training', '.3f'),
)


@click.command(
    'fit-softness',
    cls=Command,
    example='ufpnmr fit-softness glass-1.h5 glass-2.h5 --withhold glass-3.h5 -o softness-model.h5 --plot fit.png',
)
@click.argument('runs', type=INPUT, metavar='RUN.h5...', nargs=-1, required=True)
@click.option('-o', '--output', type=OUTPUT, required=True, metavar='MODEL.h5', help='Where to write the model.')
@click.option(
    '--withhold',
    type=INPUT,
    multiple=True,
    metavar='RUN.h5',
    help='Judge on this run and do not fit to it; repeatable.',
)
@with_options(*options_of(SoftnessSettings))
@plot_option('Draw ROC, learning curve, softness by label, weights.')
@json_option
def fit_softness(runs, output, withhold, plot, json_path, **options):
    """Fit what tells mobile from immobile ions by their surroundings.

    RUN.h5 are trajectories. Each ion has a label in each window of time, mobile, immobile or undecided, and features as
    the window begins. Without --withhold, whole runs are withheld in turn, or parts of the ions of a single run.
    """
    from aiida_ufpnmr.engine.softness import figures, fitting  # scikit-learn and matplotlib take a while to import

    check_outputs(output, plot, json_path)
    settings = settings_from_options(SoftnessSettings, options)
    model, results = fitting.fit_softness(runs, settings, withhold)
    model.save(output)
    if plot is not None:
        with whole_file(plot) as partial:
            figures.fit_figure(results).savefig(partial, dpi=150)
    report(results, json_path)
    print_result(FitScores(results))
    fits.print_learning_curve(results['learning_curve'], _CURVE)
    click.echo(f'validation: {results["validation"]["method"]}')


@click.command(
    'softness-onset',
    cls=Command,
    example='ufpnmr softness-onset 500=softness-500.h5 600=softness-600.h5 700=softness-700.h5 --plot onset.png',
)
@click.argument('results', nargs=-1, required=True, metavar='K=SOFTNESS.h5...')
@click.option('-o', '--output', type=OUTPUT, metavar='OUT.h5', help='Write the result as HDF5.')
@plot_option('Draw the probability to rearrange by softness and temperature.')
@json_option
def softness_onset(results, output, plot, json_path):
    """Barriers by softness and the onset temperature, from runs at several temperatures.

    Each file is what "ufpnmr analyse softness -o" wrote with one and the same model, its temperature in K before it.
    """
    check_outputs(output, plot, json_path)
    show_result(fit_onset([read_softness(one) for one in results]), output, plot, json_path)


@click.command(
    'softness-correlations',
    cls=Command,
    example='ufpnmr softness-correlations glass-1.h5 glass-2.h5 --model softness-model.h5 --potential potential.h5 '
    '--plot correlations.png',
)
@click.argument('runs', type=INPUT, metavar='RUN.h5...', nargs=-1, required=True)
@click.option('-o', '--output', type=OUTPUT, metavar='OUT.h5', help='Write the result as HDF5.')
@with_options(*options_of(CorrelationSettings))
@plot_option('Draw each property by softness.')
@json_option
def softness_correlations(runs, output, plot, json_path, **options):
    """Softness of ions against the units of anions around them, Voronoi volume, coordination and energy.

    Intervals resample whole runs where there are five or more, else parts of the cells, else ions.
    """
    check_outputs(output, plot, json_path)
    settings = settings_from_options(CorrelationSettings, options)
    show_result(correlations(runs, settings), output, plot, json_path)
