"""Claims about ``ufpnmr label`` and about running another interpreter; a small program plays a Python with GPAW."""

import json
import os
import re
import runpy
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from aiida_ufpnmr.engine.dataset import read_dataset
from aiida_ufpnmr.engine.dft import gpaw_engine, gpaw_install, gpaw_siteconfig
from aiida_ufpnmr.engine.dft.gpaw_engine import PYTHON_VARIABLE, GpawEngine, GpawSettings, find_gpaw, gpaw_settings
from aiida_ufpnmr.engine.dft.labels import LabellingError
from aiida_ufpnmr.engine.dft.programs import Programs
from aiida_ufpnmr.engine.errors import InputError

UFPNMR = Path(sys.executable).with_name('ufpnmr')


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'aiida-ufpnmr'


@pytest.fixture
def pretender(tmp_path):
    """Makes a program that answers like a Python with GPAW; ``label`` is the code that makes labels of a job."""

    def make(
        label="json.dump(labels(job), open(argv[2], 'w'))",
        probe='{"gpaw": "9.9.9", "mpi": false, "setups": true}',
        dataset="open('Li.3e.PBE', 'w').write('electrons')",
        knows_relativity=True,
    ):
        path = tmp_path / 'python-with-gpaw'
        path.write_text(
            textwrap.dedent(f"""\
            #!{sys.executable}
            import json, os, sys
            argv = sys.argv[2:] if sys.argv[1] != '-m' else sys.argv[1:]
            def labels(job, **changes):
                n = len(job['numbers'])
                good = dict(energy_ev=-1.5, free_energy_ev=-1.6, forces_ev_per_angstrom=[[0.1, 0.2, 0.3]] * n,
                            stress_ev_per_cubic_angstrom=[[0.1, 0, 0], [0, 0.2, 0], [0, 0, 0.3]],
                            efg_au=[[[0.01, 0, 0], [0, 0.01, 0], [0, 0, -0.02]]] * n, attempt=1, smearing_ev=0.1,
                            setups={{'Li': 'Li.3e.PBE:ff', 'H': 'H.PBE:ee'}}, gpaw='9.9.9')
                return {{**good, **changes}}
            if argv[0] == 'probe':
                print({probe!r})
            elif argv[0] == '-m' and '--help' in argv:
                print('--scalar-relativistic' if {knows_relativity} else '')
            elif argv[0] == '-m':
                open({str(tmp_path / 'dataset-options')!r}, 'w').write(' '.join(argv))
                {dataset}
            else:
                job = json.load(open(argv[1]))
                {label}
            """)
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return make


def crystal(x=0.5, **info):
    atoms = Atoms('LiH', [[x, 0, 0], [x, 2.0, 2.0]], cell=[4, 4, 4], pbc=True)
    atoms.info |= info
    return atoms


@pytest.fixture
def frames(tmp_path):
    path = tmp_path / 'frames.extxyz'
    write(path, [crystal(0.1), crystal(0.2)])
    return path


def ufpnmr_label(*words):
    return subprocess.run([UFPNMR, 'label', *map(str, words)], capture_output=True, text=True)


def labelled(pretender, tmp_path, **settings):
    engine = GpawEngine(GpawSettings(**settings), pretender)
    folder = tmp_path / 'run'
    folder.mkdir(exist_ok=True)
    with Programs() as programs:
        labels = engine.label(crystal(), folder, folder, programs)
    return labels, json.loads((folder / 'job.json').read_text())


def test_the_command_labels_a_file(pretender, frames, tmp_path):
    out, results = tmp_path / 'out.extxyz', tmp_path / 'out.json'
    ended = ufpnmr_label(
        frames, '-o', out, '--python', pretender(), '--json', results, '--protocol', 'fast', '--config-type', 'test'
    )
    assert ended.returncode == 0, ended.stderr
    for atoms in read_dataset(out, ('energy', 'forces', 'stress', 'efg'), 'Li'):
        assert atoms.info['config_type'] == 'test'
        assert atoms.info['kpoints'] == '2x2x2-shifted' and atoms.info['cutoff_ev'] == 300
    found = json.loads(results.read_text())
    assert (found['protocol'], found['engine'], found['engine_versions']) == ('fast', 'gpaw', ['gpaw-9.9.9'])
    assert found['settings']['cutoff_ev'] == 300
    assert found['datasets'] == {'H': ['H.PBE:ee'], 'Li': ['Li.3e.PBE:ff']}
    assert 'labelled' in ended.stdout


def test_options_go_over_settings_and_settings_over_the_protocol(pretender, frames, tmp_path):
    settings, results = tmp_path / 'settings.yaml', tmp_path / 'out.json'
    settings.write_text('cutoff_ev: 250\nmax_cycles: 7\n')
    words = (frames, '-o', tmp_path / 'out.extxyz', '--python', pretender(), '--json', results, '--settings', settings)
    ended = ufpnmr_label(
        *words, '--protocol', 'stringent', '--cutoff-ev', 220, '--kpoints', 1, 2, 3, '--kpoint-centre', 'gamma'
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(results.read_text())['settings']
    assert (found['cutoff_ev'], found['max_cycles'], found['kpoints'], found['kpoint_centre']) == (
        220,
        7,
        [1, 2, 3],
        'gamma',
    )
    assert found['density_tolerance'] == 1e-6


def test_the_cutoff_follows_the_elements_of_the_file(pretender, tmp_path):
    frames, out = tmp_path / 'frames.extxyz', tmp_path / 'out.extxyz'
    oxide = crystal()
    oxide.symbols[1] = 'O'
    write(frames, [crystal(), oxide])
    assert ufpnmr_label(frames, '-o', out, '--python', pretender()).returncode == 0
    needed = gpaw_settings({}, None, ['O']).cutoff_ev
    assert [atoms.info['cutoff_ev'] for atoms in read_dataset(out)] == [needed, needed] and needed > 400


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--cutoff-ev', '-5'], '-5'),
        (['--kspacing', 'nan'], 'nan'),
        (['--kpoints', '1', '2', '0'], '0'),
        (['--protocol', 'sloppy'], 'sloppy'),
        (['--engine', 'vasp'], 'vasp'),
        (['--index', '9'], 'holds no structure 9'),
        (['--python', '/no/such/python'], 'no such program'),
    ],
)
def test_mistakes_give_one_line_status_2_and_no_file(pretender, frames, tmp_path, options, message):
    ended = ufpnmr_label(frames, '-o', tmp_path / 'out.extxyz', '--python', pretender(), *options)
    assert ended.returncode == 2
    assert message in ended.stderr and len(ended.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.glob('out.extxyz*'))


def test_too_few_labels_give_status_1_and_results_that_say_why(pretender, tmp_path):
    frames, out, results = tmp_path / 'frames.extxyz', tmp_path / 'out.extxyz', tmp_path / 'out.json'
    apart = crystal()
    apart.pbc = [True, True, False]
    write(frames, [crystal(), apart])
    ended = ufpnmr_label(frames, '-o', out, '--python', pretender(), '--json', results)
    assert ended.returncode == 1 and not out.exists()
    assert '1 of 2 structures got labels' in ended.stderr.splitlines()[-1]
    assert 'structure 1: refused: not periodic' in ended.stderr
    assert json.loads(results.read_text())['enough'] is False
    assert ufpnmr_label(frames, '-o', out, '--python', pretender(), '--min-success-fraction', 0.5).returncode == 0
    assert len(read_dataset(out)) == 1


def test_structures_that_are_all_refused_are_bad_input(pretender, tmp_path):
    frames, out = tmp_path / 'frames.extxyz', tmp_path / 'out.extxyz'
    nowhere, apart = crystal(), crystal()
    nowhere.positions[1, 2] = np.nan
    apart.pbc = [True, True, False]
    write(frames, [nowhere, apart])
    ended = ufpnmr_label(frames, '-o', out, '--python', pretender(), '--min-success-fraction', 0)
    assert ended.returncode == 2 and not list(tmp_path.glob('out.extxyz*'))
    (line,) = ended.stderr.splitlines()
    assert 'every structure is refused, the first (structure 0) because: atom 1: position is NaN' in line


def test_a_job_holds_all_that_gpaw_needs(pretender, tmp_path, cache):
    labels, job = labelled(pretender(), tmp_path, cutoff_ev=321.0, smearing_ev=0.05)
    atoms = crystal()
    assert job['numbers'] == [3, 1] and np.array_equal(job['positions_angstrom'], atoms.positions)
    assert np.array_equal(job['cell_angstrom'], atoms.cell.array)
    assert (job['cutoff_ev'], job['xc'], job['kpoints'], job['gamma_centred']) == (321.0, 'PBE', [4, 4, 4], False)
    assert job['setups'] == {'Li': '3e'} and Path(job['setups_folder'], 'Li.3e.PBE').is_file()
    assert Path(job['setups_folder']).is_relative_to(cache)
    assert job['attempts'][0]['smearing_ev'] == 0.05
    assert labels.version == 'gpaw-9.9.9' and labels.efg.shape == (2, 3, 3) and labels.free_energy == -1.6


@pytest.mark.parametrize(
    ('label', 'reason'),
    [
        ("sys.exit('Traceback\\nMemoryError: too big')", 'status 1 .*MemoryError: too big'),
        (
            "raise FileNotFoundError('no Cf.PBE\\n\\nSee there\\nfor details.')",
            r'status 1 \(FileNotFoundError: no Cf.PBE\)',
        ),
        ('os._exit(3)', 'status 3 .*said nothing'),
        ("json.dump({'failure': 'the density did not converge'}, open(argv[2], 'w'))", 'did not converge'),
        ("json.dump(labels(job, energy_ev=float('nan')), open(argv[2], 'w'))", 'NaN or infinite energy'),
    ],
)
def test_a_run_that_fails_says_why(pretender, tmp_path, label, reason):
    with pytest.raises(LabellingError, match=reason):
        labelled(pretender(label), tmp_path)


@pytest.mark.parametrize('beside', [True, False])
def test_processes_are_started_by_the_mpi_of_that_interpreter(pretender, tmp_path, monkeypatch, beside):
    """Two programs of the name, one beside the interpreter and one on PATH."""
    path = pretender(probe='{"gpaw": "9.9.9", "mpi": true, "setups": true}')
    other = tmp_path / 'other'
    other.mkdir()
    for folder in [tmp_path, other] if beside else [other]:
        (folder / 'mpiexec').write_text(f'#!/bin/sh\nprintf "%s " "$@" > {folder}/started; shift 2; "$@"\n')
        (folder / 'mpiexec').chmod(0o755)
    monkeypatch.setenv('PATH', f'{other}:/usr/bin:/bin')
    engine = GpawEngine(GpawSettings(), path)
    assert engine.shares_structures
    (tmp_path / 'run').mkdir()
    with Programs() as programs:
        engine.label(crystal(), tmp_path / 'run', tmp_path, programs, 3)
    assert (tmp_path if beside else other).joinpath('started').read_text().startswith(f'-n 3 {path}')
    assert json.loads((tmp_path / 'run' / 'job.json').read_text())['processes'] == 3


def test_the_dataset_of_lithium_is_made_once_for_each_gpaw(pretender, tmp_path, cache):
    made = cache / 'gpaw-9.9.9-setups' / 'Li.3e.PBE'
    GpawEngine(GpawSettings(), pretender())
    assert made.read_text() == 'electrons'
    assert {path.name for path in made.parent.iterdir()} == {made.name, f'{made.name}.sha256'}
    GpawEngine(GpawSettings(), pretender(dataset="sys.exit('must not be asked again')"))
    GpawEngine(GpawSettings(), pretender(probe='{"gpaw": "9.9.10", "mpi": false, "setups": true}'))
    assert (cache / 'gpaw-9.9.10-setups' / 'Li.3e.PBE').is_file()


@pytest.mark.parametrize('damage', ['electro', '', None])
@pytest.mark.parametrize('name', ['Li.3e.PBE', 'Li.3e.PBE.sha256'])
def test_a_damaged_dataset_of_lithium_is_made_anew(pretender, cache, name, damage):
    made = cache / 'gpaw-9.9.9-setups' / 'Li.3e.PBE'
    GpawEngine(GpawSettings(), pretender())
    if damage is None:
        made.with_name(name).unlink()
    else:
        made.with_name(name).write_text(damage)
    GpawEngine(GpawSettings(), pretender())
    assert made.read_text() == 'electrons'
    GpawEngine(GpawSettings(), pretender(dataset="sys.exit('must not be asked again')"))


@pytest.mark.parametrize(('knows', 'expected'), [(True, True), (False, False)])
def test_the_dataset_of_lithium_is_scalar_relativistic_in_old_and_new_gpaw(pretender, tmp_path, knows, expected):
    GpawEngine(GpawSettings(), pretender(knows_relativity=knows))
    assert ('-s' in (tmp_path / 'dataset-options').read_text().split()) == expected


def test_a_gpaw_that_cannot_make_the_dataset_is_refused(pretender):
    with pytest.raises(InputError, match='cannot make .*Li.3e.PBE .*no radial grid'):
        GpawEngine(GpawSettings(), pretender(dataset="sys.exit('no radial grid')"))


@pytest.mark.parametrize(
    ('probe', 'message'),
    [
        ('nothing of the kind', 'ended with status 0'),
        ('{"gpaw": "9.9.9", "mpi": false, "setups": false}', 'has no PAW data sets'),
    ],
)
def test_an_interpreter_without_a_working_gpaw_is_refused_with_a_remedy(pretender, probe, message):
    with pytest.raises(InputError, match=f'{message}.*gpaw_install'):
        find_gpaw(pretender(probe=probe))


def test_the_named_interpreter_comes_before_those_that_are_found(pretender, tmp_path, monkeypatch):
    monkeypatch.setenv(PYTHON_VARIABLE, str(pretender()))
    assert find_gpaw().gpaw == '9.9.9'
    monkeypatch.setenv(PYTHON_VARIABLE, '/no/such/python')
    with pytest.raises(InputError, match='/no/such/python: no such program'):
        find_gpaw()
    assert find_gpaw(pretender()).gpaw == '9.9.9'


def test_a_relative_interpreter_works_from_the_folder_of_a_run(pretender, tmp_path, monkeypatch):
    path = pretender()
    monkeypatch.chdir(path.parent)
    labels, _ = labelled(Path(path.name), tmp_path)
    assert labels.energy == -1.5


def test_the_worker_is_the_one_of_this_package_alone():
    """It must run where this package is not installed, and on older Pythons and numpys."""
    for file in gpaw_engine.WORKER_FILES:
        source = Path(file).read_text()
        assert 'aiida_ufpnmr' not in source
        compile(source, 'worker', 'exec', dont_inherit=True)


def test_what_gpaw_needs_to_be_installed_is_the_extra_of_this_package():
    assert [re.match(r'[a-z-]+', entry)[0] for entry in gpaw_install.requirements()] == ['gpaw', 'gpaw-data']


def test_an_installation_without_compiler_says_what_to_install(monkeypatch):
    monkeypatch.setenv('PATH', '')
    with pytest.raises(InputError, match='no C compiler.*apt-get install gcc'):
        gpaw_install.install()


@pytest.mark.parametrize(
    ('linked', 'libraries'), [('', []), ('fftw3', ['fftw3']), ('openblas fftw3', ['openblas', 'fftw3'])]
)
@pytest.mark.parametrize('mpi', [False, True])
def test_gpaw_is_compiled_with_what_is_there(tmp_path, monkeypatch, linked, libraries, mpi):
    for name in ('c++', 'mpicxx') if mpi else ('c++',):
        compiler = tmp_path / name
        # a program without libraries needs only the compiler
        compiler.write_text(
            f'#!/bin/sh\nfor name in {linked}; do case "$*" in *-l$name*) exit 0; esac; done\n'
            'case "$*" in *-l*) exit 1; esac\n'
        )
        compiler.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:/bin')
    monkeypatch.setattr(sys, 'executable', str(tmp_path / 'python'))
    found = runpy.run_path(gpaw_siteconfig.__file__)
    assert (found['libraries'], found['noblas'], found['fftw']) == (
        libraries,
        'openblas' not in linked,
        'fftw3' in linked,
    )
    assert (found['mpi'], Path(found['compiler']).name) == ((True, 'mpicxx') if mpi else (False, 'c++'))


def test_an_installed_gpaw_is_not_installed_again(pretender, monkeypatch):
    monkeypatch.setenv(PYTHON_VARIABLE, str(pretender()))
    found, new = gpaw_install.find_or_install()
    assert found.gpaw == '9.9.9' and not new
    ended = subprocess.run(
        [sys.executable, '-m', 'aiida_ufpnmr.engine.dft.gpaw_install'], capture_output=True, text=True, env=os.environ
    )
    assert ended.returncode == 0 and 'GPAW 9.9.9 there' in ended.stdout
