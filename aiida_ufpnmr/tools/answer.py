"""The answer of a workflow in words and rounded numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiida.orm import ProcessNode

from aiida_ufpnmr.calculations.summarise import NO_EFG, speaks_against
from aiida_ufpnmr.engine.tables import ERRORS

#: Key of a value, what to call it, its unit (times in ns are shown in a unit of their size). The interval lies under
#: ``KEY_ci95``.
QUANTITIES = (
    ('tau_ns', 'decay time τ', 'ns'),
    ('integral_time_ns', 'integral correlation time', 'ns'),
    ('time_to_1_over_e_ns', 'time to 1/e', 'ns'),
    ('decay_rate_per_s', 'decay rate 1/τ', '1/s'),
    ('hop_rate_per_s', 'hop rate of an ion', '1/s'),
    ('diffusion_coefficient_cm2_per_s', 'diffusion coefficient', 'cm²/s'),
    ('c_q_mean_khz', 'mean |C_Q|', 'kHz'),
    ('eta_mean', 'mean asymmetry η', ''),
    ('temperature_mean_K', 'mean temperature', 'K'),
    ('simulated_ps', 'simulated time', 'ps'),
)

#: Quantities that are only lower limits where another key says ``False``.
CORRECTED = {'hop_rate_per_s': 'hop_rate_corrected'}
#: Output of the pipeline, the model that it belongs to, and what to call that.
MODELS = (('potential_errors', 'potential', 'potential'), ('efg_errors', 'efg_model', 'EFG model'))

SUPERSCRIPT = str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹')


def rounded(value: float, digits: int = 3) -> str:
    """A number for reading, with ``digits`` significant digits."""
    if value == 0:
        return '0'
    if 1e-3 <= abs(value) < 10 ** (digits + 2):
        text = f'{value:.{digits}g}'
        return f'{float(text):,.0f}' if 'e' in text else text
    mantissa, exponent = f'{value:.{digits - 1}e}'.split('e')
    return f'{mantissa}·10{str(int(exponent)).translate(SUPERSCRIPT)}'


def with_unit(value: float | None, unit: str) -> str:
    """A rounded number with its unit; a dash where there is none."""
    return '–' if value is None else f'{rounded(value)} {unit}'.strip()


def interval(bounds: Sequence[float | None] | None) -> str:
    """A confidence interval; empty where there is none."""
    known = [bound for bound in bounds or () if bound is not None]
    return f'{rounded(known[0])} to {rounded(known[1])}' if len(known) == 2 else ''


def in_readable_time(ns: float) -> tuple[float, str]:
    """Factor and unit that make a time in ns easy to read."""
    return (1.0, 'ns') if ns >= 0.1 else (1000.0, 'ps')


def only_a_limit(key: str, values: Mapping[str, Any]) -> bool:
    """Whether a quantity among ``values`` is a lower limit; answers of older versions do not say, and have none."""
    return values.get(CORRECTED.get(key, '')) is False


def answer_rows(tau: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, value and interval of every quantity that was found."""
    rows = [('verdict', tau.get('verdict', '–'), '')]
    if tau.get('reason'):
        rows.append(('because' if tau.get('tau_ns') is None else 'with', tau['reason'], ''))
    for key, name, unit in QUANTITIES:
        if unit == 'ns':
            rows += _time_row(key, name, tau)
        elif tau.get(key) is not None:
            value = with_unit(tau[key], unit)
            if against := speaks_against(key, tau):
                rows.append((name, against, ''))
            elif only_a_limit(key, tau):
                rows.append((name, f'> {value}', ''))
            else:
                rows.append((name, value, interval(tau.get(f'{key}_ci95'))))
    return rows


def answer_cells(tau: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Values with their intervals by their names in :func:`answer_rows`, or the verdict where there is none."""
    there = {name: f'{value} ({bounds})' if bounds else value for name, value, bounds in answer_rows(tau)}
    return [there.get(name, there['verdict']) for name in names]


def _time_row(key: str, name: str, tau: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    if tau.get(key) is not None:
        factor, unit = in_readable_time(tau[key])
        bounds = [None if bound is None else factor * bound for bound in tau.get(f'{key}_ci95') or ()]
        return [(name, with_unit(factor * tau[key], unit), interval(bounds))]
    bound = tau.get(f'{key}_lower_bound')
    if bound is not None:
        factor, unit = in_readable_time(bound)
        return [(name, f'> {with_unit(factor * bound, unit)}', '')]
    return []


def error_rows(node: ProcessNode) -> list[tuple[str, str, str]]:
    """Model, kind and size of every error on withheld structures that the fits behind a workflow report.

    Where structures have weights, errors by weight come first: what counts little in a fit says little about it.
    """
    rows = []
    for output, link, model in MODELS:
        results = _reported(node, output, link)
        there = {key: named for key, named in ERRORS.items() if results.get(key) is not None}
        weighted = results.get('weighted', {})
        for key, (name, unit) in there.items():
            plain = with_unit(results[key], unit)
            by_weight = weighted.get(key)
            both = f'{with_unit(by_weight, unit)} by weight, {rounded(results[key])} without'
            rows.append((model, name, plain if by_weight is None else both))
    return rows


def _reported(node: ProcessNode, output: str, link: str) -> Mapping[str, Any]:
    """The report of the fit of a model: an output of a pipeline, or else of the fit that made the model, if any."""
    if output in node.outputs:
        return node.outputs[output].get_dict()
    fit = node.inputs[link].creator if link in node.inputs else None
    return fit.outputs.results.get_dict() if fit is not None and 'results' in fit.outputs else {}


def check_rows(outputs: Any) -> list[tuple[str, ...]]:
    """Errors of models on frames of a run beside those that they expect, heading first.

    Args:
        outputs: of a :class:`~aiida_ufpnmr.workflows.model_check.ModelCheckWorkChain`.
    """
    potential = outputs.potential_errors.get_dict()
    efg = outputs.efg_errors.get_dict() if 'efg_errors' in outputs else {}
    rows: list[tuple[str, ...]] = [('on frames of a run', 'real', 'expected', 'within 1 / 2 expected errors')]
    calibration = potential['calibration'] or {}
    by_species, judged = potential['forces_rmse_meV_per_angstrom_by_species'], calibration.get('forces_by_species', {})
    unit = ERRORS['forces_rmse_meV_per_angstrom'][1]

    def row(name: str, real: float, unit: str, found: Mapping[str, Any], expected: float | None = None) -> None:
        within = ' / '.join(f'{100 * found[f"fraction_within_{n}_sigma"]:.0f}' for n in (1, 2)) + ' %' if found else ''
        rows.append((name, with_unit(real, unit), '' if expected is None else with_unit(expected, unit), within))

    for key in ('energy_rmse_meV_per_atom', 'forces_rmse_meV_per_angstrom'):
        row(ERRORS[key][0], potential[key], ERRORS[key][1], calibration.get(key.split('_')[0], {}))
    for symbol, real in by_species.items():
        found = judged.get(symbol, {})
        row(f'forces on {symbol}, RMSE', real, unit, found, found.get('expected_rmse_meV_per_angstrom'))
    for key in (key for key in ERRORS if key in efg):
        row(ERRORS[key][0], efg[key], ERRORS[key][1], efg['calibration'] or {} if key == 'omega_q_mae_khz' else {})
    return rows


def model_error_rows(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Quantities over drawn models, heading first: median, interval, and the factors by which they spread."""
    rows: list[tuple[str, ...]] = [
        ('with drawn models', 'median', '95 % interval', 'runs', 'spread by sampling', 'by the models')
    ]
    for key, name, unit in QUANTITIES:
        one = found.get(key)
        if one is not None:
            drawn = len(one['drawn'])
            runs = f'{drawn - one["without_answer"]} of {drawn}'
            factors = (
                '' if one[by] is None else f'× {one[by]:.2f}' for by in ('factor_by_sampling', 'factor_by_models')
            )
            rows.append((name, with_unit(one['median'], unit), interval(one['ci95']), runs, *factors))
    return rows


def sentence(tau: Mapping[str, Any]) -> str:
    """The answer in one sentence."""
    where = f' at {with_unit(tau.get("temperature_mean_K"), "K")}' if tau.get('temperature_mean_K') is not None else ''
    if tau.get('verdict') == NO_EFG:
        rates = [row for row in answer_rows(tau) if row[0] in ('hop rate of an ion', 'diffusion coefficient')]
        found = '; '.join(f'{name} {value}' + (f' ({limits})' if limits else '') for name, value, limits in rates)
        return f'{tau["reason"]}{where}: {found}.'
    rows = _time_row('tau_ns', 'τ', tau)
    value, bounds = rows[0][1:] if rows else ('', '')
    if tau.get('tau_ns') is not None:
        bounds = f' (95 % interval {bounds} {value.split()[-1]})' if bounds else ''
        return f'The correlation of the quadrupolar frequency decays in τ = {value}{bounds}{where}.'
    bound = f' τ {value}.' if value else ''
    for _, time, limits in _time_row('integral_time_ns', '', tau):
        bound += f' Its integral correlation time is {time} ({limits}).'
    reason = f': {tau["reason"]}' if tau.get('reason') else ''
    return (
        f'The correlation of the quadrupolar frequency shows no decay time within the trajectory{where}{reason}.{bound}'
    )
