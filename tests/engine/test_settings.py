"""Claims about settings: what is no value of theirs is refused by name, whoever gives it."""

from dataclasses import dataclass

import numpy as np
import pytest

import aiida_ufpnmr as un
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.md.conditions import MdSettings
from aiida_ufpnmr.engine.settings import Settings, setting


@dataclass(frozen=True)
class Walk(Settings):
    """A walk."""

    length_km: float = setting(5.0, 'How far.', least=0)
    steps: int = setting(100, 'How many steps.')
    uphill: bool = setting(False, 'Whether it goes up.')
    to: str = setting('Rome', 'Where to.')
    span_km: tuple[float, float] = setting((0.1, 0.2), 'From where to where.')
    rest_h: float | None = setting(None, 'How long a rest.')


@pytest.mark.parametrize(
    'name, value, words',
    [
        ('length_km', '20', "length_km must be a finite number, not '20'"),
        ('length_km', None, 'length_km must be a finite number, not None'),
        ('length_km', True, 'length_km must be a finite number, not True'),
        ('steps', 2.5, 'steps must be a whole number, not 2.5'),
        ('steps', '3', 'steps must be a whole number'),
        ('uphill', 'no', "uphill must be true or false, not 'no'"),
        ('to', 7, 'to must be text, not 7'),
        ('span_km', 0.3, 'span_km must be 2 numbers'),
        ('span_km', (0.1, 0.2, 0.3), 'span_km must be 2 numbers'),
        ('span_km', ('here', 'there'), 'span_km: .* is no list of numbers'),
        ('span_km', None, 'span_km: None is no list of numbers'),
        ('rest_h', 'long', 'rest_h must be a finite number'),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(name, value, words):
    with pytest.raises(InputError, match=words):
        Walk(**{name: value})


def test_whole_numbers_and_those_of_numpy_are_numbers():
    walk = Walk(length_km=7, steps=np.int64(3), uphill=np.bool_(True), span_km=[1, 2], rest_h=np.float32(0.5))
    assert walk == Walk(7.0, 3, True, 'Rome', (1.0, 2.0), 0.5)
    assert list(map(type, (walk.length_km, walk.steps, walk.uphill, walk.rest_h))) == [float, int, bool, float]


@pytest.mark.parametrize(
    'analysis, settings, words',
    [
        ('msd', {'skip': 3}, "msd: unknown setting 'skip'; known are bootstrap, .*skip_ps"),
        ('msd', {'skip_ps': '20'}, 'skip_ps must be a finite number'),
        ('msd', {'bootstrap': 2.5}, 'bootstrap must be a whole number'),
        ('msd', {'seed': 1.5}, 'seed must be a whole number'),
        ('msd', {'window': 0.3}, 'window must be 2 numbers'),
        ('acf', {'by_site': 'no'}, 'by_site must be true or false'),
        ('acf', {'field': None}, 'field'),
    ],
)
def test_an_analysis_refuses_settings_before_it_reads_a_file(analysis, settings, words):
    with pytest.raises(InputError, match=words):
        getattr(un, analysis)('nowhere.h5', **settings)


@pytest.mark.parametrize('settings', [{'temperature_K': 'hot'}, {'threads': 1.5}, {'timestep_fs': 'short'}])
def test_dynamics_refuses_a_condition_of_another_type(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        MdSettings(**settings)


@pytest.mark.parametrize(
    'given, words',
    [
        ({'temperature': 300}, "unknown setting 'temperature'; known are .*temperature_K"),
        ({'steps': -1}, 'steps must not be negative'),
        ({'steps': 1.5}, 'steps must be a whole number'),
        ({'every': 0}, 'every must be at least 1'),
        ({'every': 2.5}, 'every must be a whole number'),
        ({'potential': 'potential.h5'}, r'a str is no UltraFastPotential; read a file with UltraFastPotential\.load'),
        ({'efg_model': 'efg.h5'}, r'a str is no EfgModel; read a file with EfgModel\.load'),
    ],
)
def test_a_run_refuses_what_it_cannot_use_and_writes_nothing(small_potential, crystal, tmp_path, given, words):
    path = tmp_path / 'run.h5'
    with pytest.raises(InputError, match=words):
        un.run_md(**{'potential': small_potential, 'structure': crystal, 'path': path, 'steps': 2, **given})
    assert not path.exists()
