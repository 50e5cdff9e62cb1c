"""The commands of the page about labels of other codes do what it says."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from code_outputs import Frame, cp2k_out, gipaw_out, magres, outcar, pw_out, vasprun

INPUTS = Path(__file__).parent / 'inputs'
PAGE = Path(__file__).parents[2] / 'docs' / 'source' / 'howto' / 'labels.rst'
FRAMES = [Frame(seed) for seed in range(6)]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with the files that the page speaks of."""
    path = tmp_path_factory.mktemp('labels')
    shutil.copy(INPUTS / 'names_with_ref.extxyz', path / 'mace.extxyz')
    gpumd = (INPUTS / 'names_of_gpumd.extxyz').read_text()
    (path / 'gpumd.extxyz').write_text(gpumd)
    mine = gpumd.replace('energy=', 'e0=').replace('force:', 'f0:').replace('virial=', 'my_virial=')
    (path / 'mine.extxyz').write_text(mine)
    for run in ('runs/a', 'runs/b', 'nmr'):
        (path / run).mkdir(parents=True)
    for number, frame in enumerate(FRAMES):
        (path / 'nmr' / f'{number}.magres').write_text(magres(frame))
    texts = {
        'runs/a/OUTCAR': outcar(FRAMES[:2]),
        'runs/b/OUTCAR': outcar(FRAMES[2:4]),
        'vasprun.xml': vasprun(FRAMES[4:]),
        'scf.out': pw_out(FRAMES[:3]),
        'cp2k.out': cp2k_out(FRAMES[:3]),
        'efg.out': gipaw_out(FRAMES[2]),
    }
    texts['small.yaml'] = 'n_max: 2\nl_max: 2\nmixed_channels: 3\nmessage_channels: 0\n'
    for name, text in texts.items():
        (path / name).write_text(text)
    return path


def test_every_command_of_the_page_runs_and_says_what_the_page_shows(folder):
    page = PAGE.read_text()
    commands = re.findall(r'^   (ufpnmr .*)$', page, re.MULTILINE)
    assert len(commands) == 7
    said = ''
    for command in commands:
        # a model of the default size takes half a minute, however few the labels
        command = command.replace('fit-efg', 'fit-efg --settings small.yaml')
        found = subprocess.run(['bash', '-c', command], cwd=folder, capture_output=True, text=True)
        assert found.returncode == 0, f'{command}: {found.stderr}'
        said += found.stderr
    (note,) = re.findall(r'^   (note: .*)$', page, re.MULTILINE)
    assert note in said and 'mine.extxyz: read e0 as energy, f0 as forces, my_virial as stress' in said


@pytest.mark.parametrize(
    'name, text, message',
    [
        ('Ein Satz mit Ä.extxyz', lambda text: text[:-300], r'line \d+ .*\(structure 6\)'),
        ('wide.extxyz', lambda text: text.replace('\nS ', '\nS 1.0 ', 1), r'line \d+ \(structure 0\): 8 columns'),
        ('nan.extxyz', lambda text: re.sub(r'energy=\S+', 'energy=nan', text, count=1), 'NaN or infinite energy'),
        ('none.extxyz', lambda text: '\n', 'holds no structure'),
        ('empty.extxyz', lambda text: '', 'is empty'),
        ('names.extxyz', lambda text: text.replace('energy=', 'E_tot='), 'no energy; there are .*E_tot.*--energy-key'),
    ],
)
def test_broken_files_give_one_line_that_names_them_and_leave_nothing_behind(tmp_path, name, text, message):
    (tmp_path / name).write_text(text((INPUTS / 'names_of_gpumd.extxyz').read_text()))
    command = ['ufpnmr', 'fit-potential', name, '-o', 'potential.h5', '--json', 'fit.json']
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 2 and re.search(f'{re.escape(name)}.*{message}', found.stderr)
    assert found.stderr.count('\n') == 1 and [path.name for path in tmp_path.iterdir()] == [name]
