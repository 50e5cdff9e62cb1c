"""Claims about spectra: horns, widths and sidebands lie where theory has them."""

import builtins
import json

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.spatial.transform import Rotation

from aiida_ufpnmr.engine.commands.analyse import analyse
from aiida_ufpnmr.engine.efg.isotopes import get_isotope
from aiida_ufpnmr.engine.efg.tensors import KHZ_PER_MB_AU
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.nmr.runs import EfgRuns
from aiida_ufpnmr.engine.nmr.spectra import averaged_tensors, quadrupolar_spectra, sites_of, transitions
from aiida_ufpnmr.engine.trajectories.trajectory import EfgSeries, write_efg

LITHIUM = get_isotope('7Li')


@pytest.fixture
def mrsimulator():
    return pytest.importorskip('mrsimulator', reason='mrsimulator cannot be installed here')


def tensor(coupling_khz, eta):
    z = coupling_khz / (KHZ_PER_MB_AU * LITHIUM.moment_mb)
    return z * np.diag([-(1 - eta) / 2, -(1 + eta) / 2, 1.0])


def test_the_horns_of_a_static_powder_lie_at_a_quarter_of_the_coupling(mrsimulator):
    (found,) = quadrupolar_spectra(tensor(100.0, 0.0)[None], LITHIUM, broadening_khz=0.2)
    for side in (found.frequency_khz > 5, found.frequency_khz < -5):
        horn = found.frequency_khz[side][found.intensity_per_khz[side].argmax()]
        assert abs(horn) == pytest.approx(25.0, abs=0.3)  # satellites at ± ω_Q/2, ω_Q = −C_Q/2 across the axis
    assert found.intensity_per_khz.sum() * np.diff(found.frequency_khz)[0] == pytest.approx(1)
    # nothing beyond C_Q/2
    assert found.intensity_per_khz[np.abs(found.frequency_khz) > 51].max() < 1e-3 * found.intensity_per_khz.max()


@pytest.mark.parametrize('eta', [0.0, 0.6, 1.0])
def test_the_width_of_a_powder_is_that_of_the_powder_average(mrsimulator, eta):
    v = np.array([tensor(80.0, eta), tensor(120.0, eta)])
    v[1] = (turn := Rotation.random(random_state=0).as_matrix()) @ v[1] @ turn.T
    (found,) = quadrupolar_spectra(v, LITHIUM, broadening_khz=0.0)
    square = 2 / 15 * np.mean([(KHZ_PER_MB_AU * LITHIUM.moment_mb) ** 2 * (x * x).sum() for x in v])
    # intensities 3 : 4 : 3, satellites at ± ω_Q/2
    assert found.rms_width_khz == pytest.approx(np.sqrt(0.6 * square / 4), rel=0.01)  # points of the spectrum


def test_transitions_share_the_intensity_as_their_matrix_elements_do():
    assert transitions(1.5) == [((-2, 2), pytest.approx(0.6)), ((0,), pytest.approx(0.4))]
    assert transitions(1) == [((-1, 1), pytest.approx(1.0))]
    assert [share for _, share in transitions(2.5)] == pytest.approx([10 / 35, 16 / 35, 9 / 35])


def test_spinning_makes_sidebands_at_its_multiples_and_keeps_the_width(mrsimulator):
    static, spun = quadrupolar_spectra(tensor(100.0, 0.3)[None], LITHIUM, mas_khz=(0.0, 10.0), broadening_khz=0.2)
    near = np.abs(spun.frequency_khz - 10.0 * np.round(spun.frequency_khz / 10.0)) < 0.5
    assert spun.intensity_per_khz[near].sum() > 0.99 * spun.intensity_per_khz.sum()
    assert spun.rms_width_khz == pytest.approx(static.rms_width_khz, rel=0.02)


def test_motion_narrows_the_line_and_a_turned_crystal_has_the_same_line(mrsimulator):
    turns = Rotation.random(300, random_state=1).as_matrix()
    wobble = np.stack([tensor(100.0, 0.2) + 0.5 * turn @ tensor(100.0, 0.2) @ turn.T for turn in turns])[:, None]
    runs = EfgRuns.of(EfgSeries('Li', np.arange(1), 100.0 * np.arange(300), wobble))
    still, moving = (quadrupolar_spectra(averaged_tensors(runs, how), LITHIUM)[0] for how in ('none', 'ion'))
    assert moving.rms_width_khz < 0.95 * still.rms_width_khz
    np.testing.assert_allclose(averaged_tensors(runs, 'cell'), averaged_tensors(runs, 'ion'))
    v = wobble[:20, 0]
    one, other = (quadrupolar_spectra(x, LITHIUM)[0] for x in (v, turns[0] @ v @ turns[0].T))
    np.testing.assert_allclose(one.intensity_per_khz, other.intensity_per_khz, atol=1e-6 * one.intensity_per_khz.max())


def test_many_tensors_are_gathered_without_changing_the_mean():
    rng = np.random.default_rng(0)
    v = np.stack([tensor(c, e) for c, e in zip(rng.uniform(50, 150, 3000), rng.uniform(0, 1, 3000))])
    coupling, eta, share = sites_of(v, LITHIUM)
    assert len(coupling) <= 400 and share.sum() == pytest.approx(1)
    every, _, _ = sites_of(v[:400], LITHIUM)
    assert len(every) == 400
    assert coupling @ share == pytest.approx(np.mean(np.abs(v[:, 2, 2]) * abs(KHZ_PER_MB_AU * LITHIUM.moment_mb)))


def test_without_mrsimulator_one_line_says_how_to_get_it(monkeypatch):
    real = builtins.__import__

    def missing(name, *arguments, **options):
        if name.startswith('mrsimulator'):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, '__import__', missing)
    with pytest.raises(InputError, match=r'aiida-ufpnmr\[spectra\]'):
        quadrupolar_spectra(tensor(100.0, 0.0)[None], LITHIUM)


def test_the_command_writes_spectra(mrsimulator, tmp_path):
    path = tmp_path / 'run.h5'
    v = np.broadcast_to(tensor(100.0, 0.4), (30, 5, 3, 3))
    write_efg(path, EfgSeries('Li', np.arange(5), 100.0 * np.arange(30), v))
    files = [tmp_path / name for name in ('out.h5', 'out.png', 'out.json')]
    arguments = ['spectrum', str(path), '-o', str(files[0]), '--plot', str(files[1]), '--json', str(files[2])]
    result = CliRunner().invoke(analyse, [*arguments, '--mas-khz', '0,8'], catch_exceptions=False)
    assert result.exit_code == 0 and all(file.stat().st_size for file in files)
    found = json.loads(files[2].read_text())
    assert found['c_q_mean_khz'] == pytest.approx(100, rel=1e-4)  # float32 on disk
    assert [one['mas_khz'] for one in found['spectra']] == [0, 8]


def test_tensors_that_vanish_are_refused(mrsimulator):
    with pytest.raises(InputError, match='zero throughout'):
        quadrupolar_spectra(np.zeros((2, 3, 3)), LITHIUM)


def test_a_moment_of_ones_own_scales_the_width(mrsimulator):
    (known,) = quadrupolar_spectra(tensor(100.0, 0.3)[None], LITHIUM, broadening_khz=0.2)
    own = get_isotope(f'7Li:{2 * LITHIUM.moment_mb}')
    (twice,) = quadrupolar_spectra(tensor(100.0, 0.3)[None], own, broadening_khz=0.2)
    assert twice.rms_width_khz == pytest.approx(2 * known.rms_width_khz, rel=0.02)
    with pytest.raises(InputError, match='knows no isotope 99Li; choose another with --isotope'):
        quadrupolar_spectra(tensor(100.0, 0.3)[None], get_isotope('99Li:31.4:2'))
