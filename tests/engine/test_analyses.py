"""Claims about all analyses: results come back from files as they were, also from those of version 0.1."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from two_site import two_site_paths, write_two_site_trajectory

import aiida_ufpnmr as un
from aiida_ufpnmr.engine.analyses import ANALYSES, get_analysis
from aiida_ufpnmr.engine.analyses.base import PathSource, Result, analysis
from aiida_ufpnmr.engine.commands.analyse import analyse, command_of
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import content_hash
from aiida_ufpnmr.engine.records import Record, quantity
from aiida_ufpnmr.engine.settings import setting
from aiida_ufpnmr.engine.softness.features import Features
from aiida_ufpnmr.engine.softness.model import SoftnessModel, SoftnessSettings
from aiida_ufpnmr.engine.timeseries.decay import CONSTANT
from aiida_ufpnmr.engine.trajectories.paths import PathSettings
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory
from aiida_ufpnmr.engine.transport.hops import NO_HOPS, RATTLING
from aiida_ufpnmr.engine.transport.msd import DIFFUSION, FASTER, NO_DIFFUSION, SLOWER, TOO_LITTLE

OLD = Path(__file__).parent / 'fixtures' / 'v0.1'
#: Fast settings, and what an analysis cannot do without on these trajectories.
SETTINGS = {
    'acf': {'bootstrap': 10, 'hopping': True, 'field': (1, 1, 0), 'pulse_us': 10.0, 'decay_us': 10.0},
    'conductivity': {'charges': 'S=-3', 'temperature_K': 300.0},
    'hops': {'by_site': False},
    'msd': {'bootstrap': 20},
    'microstructure': {'diffusion': '1e-10,1e-9', 'grain_nm': 100},
    'orientations': {'bins': 4},
    'rearrangements': {'lag_ps': 0.02, 'window_ps': 0.05},
    'relaxation': {'bootstrap': 10, 'larmor_MHz': [100.0]},
    'rotations': {'window_ps': 0.03, 'residence_ps': 0.03},
    'spectrum': {'mas_khz': (0, 10)},
    'vdos': {'ranges_per_cm': '20-100'},
}


#: Analyses that look at anions, too.
OF_ALL_ATOMS = (
    'sites',
    'rdf',
    'structure-factor',
    'anions',
    'angles',
    'distance-angle',
    'rotations',
    'voronoi',
    'rings',
    'rearrangements',
    'softness',
)


@pytest.fixture(scope='module')
def trajectories(tmp_path_factory):
    """One of two-site jumps, and one of a crystal for what looks at all atoms."""
    path = tmp_path_factory.mktemp('run') / 'run.h5'
    write_two_site_trajectory(path, *two_site_paths(seed=1, n_ions=12, n_frames=1500))
    return dict.fromkeys(ANALYSES, path) | dict.fromkeys(OF_ALL_ATOMS, OLD / 'trajectory.h5')


@pytest.fixture(scope='module')
def results(trajectories, tmp_path_factory):
    settings = SETTINGS | {'softness': {'model': write_softness_model(tmp_path_factory.mktemp('model') / 'model.h5')}}
    return {name: get_analysis(name)(trajectories[name], **settings.get(name, {})) for name in ANALYSES}


def write_softness_model(path: Path) -> Path:
    """A plane that means nothing, for a few frames of the crystal."""
    settings = SoftnessSettings(**SETTINGS['rearrangements'], hop_window_ps=0.05, last_shell_angstrom=3.0)
    features = Features.of('Li', np.array(['Li', 'P', 'S']), settings)
    numbers = np.linspace(0.5, 1.5, len(features.names))
    SoftnessModel(features, settings, numbers, numbers, numbers, 0.1, np.linspace(-2.0, 2.0, 6), '').save(path)
    return path


def arrays(record: Record, path: str = '') -> dict[str, np.ndarray]:
    """All arrays of a record and of those in it."""
    found = {}
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        parts = value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, tuple) else [value])
        for key, part in parts:
            here = f'{path}{field.name}/{key}'
            if isinstance(part, np.ndarray):
                found[here] = part
            elif isinstance(part, Record):
                found |= arrays(part, f'{here}/')
    return found


@pytest.mark.parametrize('name', ANALYSES)
def test_a_result_comes_back_as_it_was_saved(results, tmp_path, name):
    result = results[name]
    path = tmp_path / 'result.h5'
    result.save(path)
    again = type(result).load(path)
    assert json.dumps(again.to_dict(), sort_keys=True) == json.dumps(result.to_dict(), sort_keys=True)
    saved = arrays(result)
    assert saved and saved.keys() == arrays(again).keys()
    for key, value in arrays(again).items():
        np.testing.assert_array_equal(value, saved[key])
    again.save(tmp_path / 'again.h5')
    assert content_hash(path) == content_hash(tmp_path / 'again.h5')
    assert again.table() == result.table() and again.headline == result.headline


@pytest.mark.parametrize('name', ANALYSES)
def test_a_result_shows_itself_as_a_table_and_a_figure(results, tmp_path, name):
    result = results[name]
    heading, *rows = result.table()
    assert rows and all(len(row) == len(heading) for row in rows)
    shown = result._repr_html_()
    assert shown.count('<tr>') == len(rows) + 1 and all(f'<th>{cell}</th>' in shown for cell in heading)
    result.plot().savefig(tmp_path / 'figure.png')
    assert (tmp_path / 'figure.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize('name', ANALYSES)
def test_every_array_has_a_unit_or_is_a_pure_number_and_all_fields_explain_themselves(name):
    def check(record):
        for field in dataclasses.fields(record):
            if field.name not in ('source', 'settings'):
                assert field.metadata['help'], f'{record.__name__}.{field.name}'
                if field.type.startswith('np.ndarray'):
                    assert field.metadata['shape'], f'{record.__name__}.{field.name}: no shape'

    check(get_analysis(name).Result)


@pytest.mark.parametrize('name', [name for name in ANALYSES if (OLD / f'{name}.h5').exists()])
def test_a_file_of_version_0_1_gives_the_numbers_it_was_written_with(name, tmp_path):
    """Where the old file holds a number at all, it is the one that the old command printed as JSON."""
    before = json.loads((OLD / 'results.json').read_text())[name]
    result = get_analysis(name).Result.load(OLD / f'{name}.h5')
    compared = []

    def compare(new, old, path):
        if isinstance(new, dict):
            for key in new.keys() & old.keys():
                compare(new[key], old[key], f'{path}/{key}')
        elif isinstance(new, list) and new and len(new) == len(old):
            for i, pair in enumerate(zip(new, old)):
                compare(*pair, f'{path}/{i}')
        elif isinstance(new, (int, float)) and old is not None:
            assert new == pytest.approx(old, rel=1e-12), path
            compared.append(path)

    compare(result.to_dict(), before, name)
    # settings and default numbers alone would not do
    assert len(compared) >= {'spectrum': 2, 'msd': 5, 'relaxation': 4}.get(name, 6), compared
    assert arrays(result)
    result.table()
    result.plot().savefig(tmp_path / 'figure.png')


@pytest.mark.parametrize('name', ANALYSES)
def test_a_file_of_a_newer_version_or_another_kind_is_refused(results, tmp_path, name):
    path = tmp_path / 'result.h5'
    results[name].save(path)
    with h5py.File(path, 'r+') as file:
        file.attrs['format_version'] = 99
    with pytest.raises(InputError, match='newer than this program knows'):
        type(results[name]).load(path)
    other = get_analysis('hops' if name == 'msd' else 'msd').Result
    with pytest.raises(InputError, match='not a ufpnmr'):
        other.load(path)


def test_a_trajectory_of_version_0_1_is_read_and_a_newer_one_refused(tmp_path):
    assert content_hash(OLD / 'trajectory.h5') == '80e62958494213032afb43e0e609acdff79ae3514418cb9a42de875c4b9fc25b'
    with Trajectory(OLD / 'trajectory.h5') as source:
        assert source.positions().shape == (21, 32, 3) and source.efg_species == ['Li']
    newer = tmp_path / 'newer.h5'
    newer.write_bytes((OLD / 'trajectory.h5').read_bytes())
    with h5py.File(newer, 'r+') as file:
        file['record'].attrs['format_version'] = 2
    with pytest.raises(InputError, match='newer than this program knows'):
        Trajectory(newer)


@pytest.mark.parametrize('name', ANALYSES)
def test_settings_make_the_options_of_the_command_with_their_defaults(name):
    chosen = get_analysis(name)
    context = command_of(chosen).make_context(name, ['run.h5'])
    assert context.params['settings'] == chosen.Settings()
    assert all(option.help for option in command_of(chosen).params if isinstance(option, click.Option))


@dataclasses.dataclass(frozen=True)
class DipSettings(PathSettings):
    """Settings of which one has an option of another name, and one none."""

    depth_nm: float = setting(1.0, 'How deep.', option='how-deep')
    rounds: int = setting(3, 'How often.', option='')


@dataclasses.dataclass(frozen=True)
class Dip(Result):
    """A result without a figure."""

    depth_angstrom: float = quantity('Å', 'how deep')


def test_a_setting_of_an_analysis_may_have_an_option_of_another_name_or_none():
    @analysis('dip', 'ufpnmr analyse dip run.h5')
    def dip(source: PathSource, settings: DipSettings) -> Dip:
        return Dip(10 * settings.depth_nm)

    context = command_of(dip).make_context('dip', ['run.h5', '--how-deep', '2'])
    assert context.params['settings'] == DipSettings(depth_nm=2.0)


def test_a_result_that_the_record_of_the_trajectory_would_hide_is_refused():
    @dataclasses.dataclass(frozen=True)
    class Counted(Result):
        frames: int = quantity('', 'frames that count')

    def count(source, settings):
        return Counted(3)

    count.__annotations__ = {'source': PathSource, 'settings': PathSettings, 'return': Counted}
    with pytest.raises(TypeError, match='count: the record of the trajectory has frames, too'):
        analysis('count', 'ufpnmr analyse count run.h5')(count)


def test_an_analysis_with_a_hyphen_has_an_underscore_in_python(monkeypatch):
    chosen = get_analysis('msd')
    monkeypatch.setitem(ANALYSES, 'mean-square', 'Of a module of its own.')
    monkeypatch.setitem(sys.modules, 'aiida_ufpnmr.engine.analyses.mean_square', SimpleNamespace(mean_square=chosen))
    assert un.mean_square is chosen
    assert 'mean_square' in dir(un) and 'mean-square' not in dir(un)


@pytest.mark.parametrize(
    'name, settings, words',
    [
        ('msd', {'window': (0.5, 2)}, 'window must be at most 1'),
        ('msd', {'reference': 'moon'}, 'reference must be one of framework, cell, none'),
        ('acf', {'gamma': 0}, 'gamma must be above zero'),
        ('acf', {'field': '1,1'}, 'none of powder, x, y, z'),
        ('acf', {'pulse_us': 3.0}, 'needs both pulse_us and decay_us'),
        ('relaxation', {'points': 3}, 'points must be at least 10'),
        ('relaxation', {'larmor_MHz': 'fast'}, 'no list of numbers'),
        ('spectrum', {'mas_khz': (-1,)}, 'mas_khz must not be negative'),
        ('orientations', {'field': 'powder'}, 'direction of the field'),
        ('microstructure', {'measured_ms': (50, 30)}, 'lower end first'),
        ('hops', {'window_ps': float('nan')}, 'window_ps must be a finite number'),
    ],
)
def test_settings_out_of_bounds_are_refused_by_name(trajectories, name, settings, words):
    with pytest.raises(InputError, match=words):
        get_analysis(name)(trajectories[name], **settings)


def test_an_error_names_the_file(tmp_path):
    with pytest.raises(InputError, match=r'nowhere\.h5'):
        get_analysis('acf')(tmp_path / 'nowhere.h5')
    with pytest.raises(InputError, match='msd takes one trajectory file, not 2'):
        get_analysis('msd')([tmp_path / 'a.h5', tmp_path / 'b.h5'])


def test_the_analysis_of_the_developer_page_is_whole_and_finds_the_amplitude_of_an_oscillator(tmp_path, monkeypatch):
    page = Path(__file__).parents[2] / 'docs' / 'source' / 'developer' / 'amplitude.py'
    assert len(page.read_text().splitlines()) < 80
    specification = importlib.util.spec_from_file_location('aiida_ufpnmr.engine.analyses.amplitude', page)
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, specification.name, module)
    monkeypatch.setitem(ANALYSES, 'amplitude', 'Vibrational amplitude.')
    specification.loader.exec_module(module)
    time_ps, frequency_THz = 0.01 * np.arange(2000), 6.0
    place = 0.1 * np.sin(2 * np.pi * frequency_THz * time_ps)[:, None, None] * np.ones((1, 3, 3))
    path, out = tmp_path / 'run.h5', tmp_path / 'amplitude.h5'
    write_two_site_trajectory(path, np.zeros((2000, 3), int), 5.0 + place, step_fs=10.0, drift=0.0)
    arguments = ['amplitude', str(path), '--window-ps', '5', '-o', str(out), '--plot', str(tmp_path / 'a.png')]
    assert CliRunner().invoke(analyse, arguments, catch_exceptions=False).exit_code == 0
    found = module.AmplitudeResult.load(out)
    # whole periods: half the squared amplitude, over n − 1 of 500 frames
    assert found.mean_angstrom2 == pytest.approx(0.1**2 / 2, rel=3e-3)
    assert CliRunner().invoke(analyse, [*arguments, '--window-ps', '0']).exit_code == 2


def test_a_hop_rate_that_could_not_be_corrected_is_a_lower_limit_without_an_interval(results):
    found = dataclasses.replace(results['hops'], hop_rate_corrected=True)
    assert found.table()[1][2] and '>' not in found.table()[1][1] and not found.remarks
    limit = dataclasses.replace(found, hop_rate_corrected=False)
    assert limit.table()[1][1:] == (f'> {found.table()[1][1]}', '')
    assert 'lower limit' in limit.remarks[0]
    none = dataclasses.replace(limit, hops=0, hop_rate_per_s=0.0, verdict=NO_HOPS)
    assert none.table()[1][1:] == ('0.000e+00', '') and not none.remarks  # too short for an upper limit


def test_a_rate_of_ions_that_may_only_rattle_has_no_interval_and_is_no_limit(results):
    for corrected in (True, False):
        found = dataclasses.replace(results['hops'], verdict=RATTLING, hop_rate_corrected=corrected)
        assert found.table()[1][2] == '' and '>' not in found.table()[1][1]
        assert 'no hop is certain' in found.remarks[0]


@pytest.mark.parametrize(
    ('verdict', 'high', 'words'),
    [
        (NO_DIFFUSION, 2e-6, 'slope/6, no certain diffusion: below 2.0e-06 cm²/s'),
        (TOO_LITTLE, 2e-6, 'slope/6, no certain diffusion: below 2.0e-06 cm²/s'),
        (NO_DIFFUSION, -1e-7, 'slope/6, no D'),
        (SLOWER, 2e-6, 'slope/6, no D'),
        (FASTER, 2e-6, 'slope/6, no D'),
    ],
)
def test_a_slope_that_is_no_diffusion_has_no_interval_and_a_bound_only_where_that_means_something(
    results, verdict, high, words
):
    line = {
        'slope_angstrom2_per_ps': 0.01,
        'offset_angstrom2': 0.1,
        'diffusion_coefficient_cm2_per_s_ci95': (-1e-6, high),
    }
    found = dataclasses.replace(results['msd'], verdict=verdict, **line)
    assert found.table()[1][0] == 'slope/6 (cm²/s), no D' and found.table()[1][2] == ''
    assert words in found.plot().axes[0].get_legend_handles_labels()[1]
    assert dataclasses.replace(found, verdict=DIFFUSION).table()[1][2] == f'-1.000e-06 to {high:.3e}'


def test_an_exponent_below_one_beside_diffusion_is_explained(results):
    found = dataclasses.replace(
        results['msd'],
        verdict=DIFFUSION,
        msd_exponent=0.76,
        msd_exponent_ci95=(0.63, 0.89),
        window_ps=(40.0, 200.0),
        slope_angstrom2_per_ps=0.1,
        offset_angstrom2=4.0,
    )
    # ln(24/8)/ln(5) = 0.68
    assert '4 Å² of rattling, which D leaves out' in found.remarks[-1]
    assert 'still bends' in dataclasses.replace(found, offset_angstrom2=0.1).remarks[-1]
    assert 'exponent' not in ' '.join(dataclasses.replace(found, msd_exponent_ci95=(0.9, 1.1)).remarks)
    back = dataclasses.replace(found, verdict=SLOWER, chance_of_return=0.002)
    assert back.remarks[-1] == 'Ions that walk would end as near to where they began as these in 0.2% of runs.'


def test_a_constant_curve_comes_with_a_word_on_ions_that_move_alone(results):
    found = results['acf']
    hopping = 'omega_q_powder_hopping'
    curves = {name: dataclasses.replace(curve, reason=CONSTANT) for name, curve in found.observables.items()}
    assert hopping in curves and not dataclasses.replace(found, observables=curves).remarks
    del curves[hopping]
    assert '--hopping' in dataclasses.replace(found, observables=curves).remarks[0]
    del (falling := dict(found.observables))[hopping]
    assert falling['omega_q_powder'].reason != CONSTANT
    assert not dataclasses.replace(found, observables=falling).remarks
