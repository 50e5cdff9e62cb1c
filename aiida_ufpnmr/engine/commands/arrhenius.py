"""``ufpnmr arrhenius``."""

from __future__ import annotations

import click

from aiida_ufpnmr.engine.analyses.arrhenius import ArrheniusSettings, fit_results, read_results
from aiida_ufpnmr.engine.commands.options import options_of, settings_from_options, with_options
from aiida_ufpnmr.engine.commands.shared import OUTPUT, Command, check_outputs, json_option, plot_option, show_result


@click.command(
    'arrhenius',
    cls=Command,
    example='ufpnmr arrhenius 600=msd-600.json 700=msd-700a.json 700=msd-700b.json 800=msd-800.json --plot fit.png',
)
@click.argument('results', nargs=-1, required=True, metavar='[K=]RESULTS.json...')
@click.option('-o', '--output', type=OUTPUT, metavar='OUT.h5', help='Write the result as HDF5.')
@with_options(*options_of(ArrheniusSettings))
@plot_option('Draw the rates against the inverse temperature.')
@json_option
def arrhenius(results, output, plot, json_path, **options):
    """Activation energy, prefactor and extrapolation from results of msd, hops, acf or conductivity.

    Each file is what --json of an analysis wrote, with its temperature in K before it; several at one temperature are
    replicas.
    """
    check_outputs(output, plot, json_path)
    found = fit_results([read_results(one) for one in results], settings_from_options(ArrheniusSettings, options))
    show_result(found, output, plot, json_path)
