"""Claims about labelling a batch: what is refused, safe, done twice. A stand-in takes the place of the DFT code."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from aiida_ufpnmr.engine.dataset import energy, forces, read_dataset, stress
from aiida_ufpnmr.engine.dft.labelling import label_structures
from aiida_ufpnmr.engine.dft.labels import LabellingError, Labels, read_sources
from aiida_ufpnmr.engine.dft.programs import Programs
from aiida_ufpnmr.engine.dft.record import LabelRecord
from aiida_ufpnmr.engine.errors import InputError


@dataclass(frozen=True)
class Settings:
    cutoff_ev: float = 100.0


@dataclass
class StandIn:
    """Labels made of the positions; fails where the first atom is a carbon."""

    settings: Settings = field(default_factory=Settings)
    name: str = 'stand-in'
    shares_structures: bool = True
    runs: list = field(default_factory=list)

    def describe(self, atoms):
        return {'cutoff_ev': self.settings.cutoff_ev}

    def label(self, atoms, folder, checkpoints, programs, processes):
        self.runs.append((atoms.positions[0, 0], processes))
        (folder / 'output.txt').write_text('whatever the code said')
        if atoms.symbols[0] == 'C':
            raise LabellingError('did not converge')
        forces = atoms.positions - 1.0
        tensor = np.arange(9.0).reshape(3, 3) + np.arange(9.0).reshape(3, 3).T
        return Labels(
            energy=atoms.positions.sum(), free_energy=atoms.positions.sum() - 0.1, forces=forces, stress=tensor / 100,
            efg=np.array([tensor * x for x in atoms.positions[:, 0]]), version='stand-in-1.0',
            datasets={s: f'{s}.PBE:00' for s in set(atoms.get_chemical_symbols())}, attempt=1, smearing_ev=0.1,
        )  # fmt: skip


def crystal(x=0.5, first='Li', **info):
    atoms = Atoms([first, 'Li'], [[x, 0, 0], [x, 2.5, 2.5]], cell=[5, 5, 5], pbc=True)
    atoms.info |= info
    return atoms


@pytest.fixture
def structures(tmp_path):
    """Four good ones, of which two are equal."""
    path = tmp_path / 'frames.extxyz'
    write(path, [crystal(x, config_type=f'run{n}', label_id=f'id-{n}') for n, x in enumerate((0.1, 0.2, 0.3, 0.2))])
    return path


@pytest.fixture
def output(tmp_path):
    return tmp_path / 'labels.extxyz'


def pieces(output):
    return output.with_name(output.name + '.pieces')


def test_labels_arrive_with_the_structures_they_belong_to(structures, output):
    label_structures(read_sources(structures), StandIn(), output)
    for atoms, source in zip(
        read_dataset(output, ('energy', 'forces', 'stress', 'efg'), 'Li'), read_dataset(structures)
    ):
        assert atoms.positions == pytest.approx(source.positions)
        assert energy(atoms) == pytest.approx(source.positions.sum())
        assert atoms.calc.results['free_energy'] == pytest.approx(source.positions.sum() - 0.1)
        assert forces(atoms) == pytest.approx(source.positions - 1)
        tensor = np.arange(9.0).reshape(3, 3) + np.arange(9.0).reshape(3, 3).T
        assert stress(atoms) == pytest.approx(tensor / 100)
        assert atoms.arrays['efg'] == pytest.approx(np.array([tensor * x for x in atoms.positions[:, 0]]))


def test_rows_say_where_they_come_from(structures, output):
    label_structures(read_sources(structures, '1:3'), StandIn(), output)
    first, second = read_dataset(output)
    assert [atoms.info['source_row'] for atoms in (first, second)] == [1, 2]
    assert first.info['source_file'] == 'frames.extxyz'
    assert (first.info['config_type'], first.info['label_id']) == ('run1', 'id-1')
    assert (first.info['engine'], first.info['engine_version']) == ('stand-in', 'stand-in-1.0')
    assert first.info['dataset_Li'] == 'Li.PBE:00'
    assert first.info['settings_sha256'] == second.info['settings_sha256']
    assert first.info['source_sha256'] != second.info['source_sha256']


def test_a_group_is_given_to_structures_that_name_none(tmp_path):
    path = tmp_path / 'frames.extxyz'
    write(path, [crystal(0.1), crystal(0.2, config_type='mine')])
    assert [source.atoms.info['config_type'] for source in read_sources(path, config_type='given')] == ['given', 'mine']
    assert 'config_type' not in read_sources(path)[0].atoms.info


def test_frames_of_a_trajectory_can_be_labelled(tmp_path, output):
    from aiida_ufpnmr.engine.trajectories.trajectory import EDGES, POSITION, TrajectoryWriter

    atoms = crystal()
    writer = TrajectoryWriter(tmp_path / 'run.h5', atoms)
    for step in (0, 50, 100):
        writer.append(POSITION, step, 2.0 * step, atoms.positions + step / 10)
        writer.append(EDGES, step, 2.0 * step, atoms.cell.array)
    writer.close()
    label_structures(read_sources(tmp_path / 'run.h5', '::2'), StandIn(), output)
    found = list(read_dataset(output))
    assert [(row.info['source_row'], row.info['step']) for row in found] == [(0, 0), (2, 100)]
    assert (found[1].positions < 5).all()  # wrapped


@pytest.mark.parametrize(
    ('index', 'rows'), [('-1', [3]), ('0', [0]), ('::2', [0, 2]), ('1:3', [1, 2]), (':', [0, 1, 2, 3])]
)
def test_structures_are_chosen_as_in_python(structures, index, rows):
    assert [source.row for source in read_sources(structures, index)] == rows


@pytest.mark.parametrize('index', ['x', '::0', '1:2:3:4', '', '9'])
def test_a_choice_without_sense_is_refused(structures, index):
    with pytest.raises(InputError, match='index|holds no structure'):
        read_sources(structures, index)


def test_equal_structures_are_computed_once(structures, output):
    engine = StandIn()
    results = label_structures(read_sources(structures), engine, output)
    assert len(engine.runs) == 3 and results['labelled'] == 4
    assert [atoms.info['source_row'] for atoms in read_dataset(output)] == [0, 1, 2, 3]


def test_a_second_run_computes_nothing_and_changes_nothing(structures, output):
    first = label_structures(read_sources(structures), StandIn(), output)
    before = output.read_bytes()
    again = StandIn()
    second = label_structures(read_sources(structures), again, output)
    assert again.runs == [] and output.read_bytes() == before
    assert (first['labelled_before'], second['labelled_before']) == (0, 4)
    assert first['data_sha256'] == second['data_sha256'] == read_dataset(output).content_hash
    assert not pieces(output).exists()


def test_new_structures_are_added_to_those_that_are_there(structures, output):
    label_structures(read_sources(structures, ':2'), StandIn(), output)
    engine = StandIn()
    label_structures(read_sources(structures), engine, output)
    assert [x for x, _ in engine.runs] == [0.3]
    assert len(read_dataset(output)) == 4


def test_labels_that_would_be_lost_stop_a_run_before_it_begins(structures, output):
    label_structures(read_sources(structures), StandIn(), output)
    before = output.read_bytes()
    for sources, engine in (
        (read_sources(structures, ':2'), StandIn()),
        (read_sources(structures), StandIn(Settings(200.0))),
    ):
        with pytest.raises(InputError, match='choose another name'):
            label_structures(sources, engine, output)
        assert engine.runs == [] and output.read_bytes() == before


def test_other_settings_are_other_labels(structures, output, tmp_path):
    label_structures(read_sources(structures), StandIn(), output)
    other = tmp_path / 'other.extxyz'
    label_structures(read_sources(structures), StandIn(Settings(200.0)), other)
    keys = {atoms.info['label_sha256'] for path in (output, other) for atoms in read_dataset(path)}
    assert len(keys) == 6


def test_a_batch_goes_on_after_a_failure_and_a_refusal(tmp_path, output):
    path = tmp_path / 'frames.extxyz'
    overlapping = crystal(0.4)
    overlapping.positions[1] = overlapping.positions[0] + [0.8, 0, 0]
    slab = crystal(0.3)
    slab.pbc = [True, True, False]
    write(path, [crystal(0.1), crystal(0.2, 'C'), overlapping, slab, crystal(0.5)])
    results = label_structures(read_sources(path), StandIn(), output, min_success_fraction=0.4)
    assert [atoms.info['source_row'] for atoms in read_dataset(output)] == [0, 4]
    assert [entry['source_row'] for entry in results['failed']] == [1]
    assert 'did not converge' in results['failed'][0]['reason']
    assert [entry['source_row'] for entry in results['refused']] == [2, 3]
    assert '0.80 Å apart' in results['refused'][0]['reason'] and 'not periodic' in results['refused'][1]['reason']
    assert results['success_fraction'] == pytest.approx(0.4)
    # what the code said about the failure is kept, and nothing else
    assert [p.relative_to(pieces(output)).as_posix() for p in pieces(output).rglob('*') if p.is_file()] == [
        'lock',
        'structure-1/output.txt',
    ]


def test_too_few_labels_give_no_output_but_are_kept(tmp_path, output):
    path = tmp_path / 'frames.extxyz'
    write(path, [crystal(0.1), crystal(0.2, 'C')])
    results = label_structures(read_sources(path), StandIn(), output, min_success_fraction=0.6)
    assert not results['enough'] and not output.exists()
    engine = StandIn()
    results = label_structures(read_sources(path), engine, output, min_success_fraction=0.5)
    assert results['enough'] and len(read_dataset(output)) == 1
    assert [x for x, _ in engine.runs] == [0.2]  # the failure is tried again, the label is not made again


def test_what_a_failure_has_left_goes_when_it_is_overcome(tmp_path, output):
    path = tmp_path / 'frames.extxyz'
    write(path, [crystal(0.1), crystal(0.2, 'C')])
    label_structures(read_sources(path), StandIn(), output, min_success_fraction=0.5)
    assert (pieces(output) / 'structure-1').is_dir()
    write(path, [crystal(0.1), crystal(0.3)])
    assert label_structures(read_sources(path), StandIn(), output)['labelled'] == 2
    assert not pieces(output).exists()


def test_no_labels_at_all_are_never_enough(tmp_path, output):
    path = tmp_path / 'frames.extxyz'
    write(path, [crystal(0.2, 'C')])
    assert not label_structures(read_sources(path), StandIn(), output, min_success_fraction=0.0)['enough']
    assert not output.exists()


def test_labels_are_safe_when_a_later_structure_stops_the_run(structures, output):
    class Dying(StandIn):
        def label(self, atoms, *rest):
            if atoms.positions[0, 0] == 0.3:
                raise OSError(28, 'No space left on device')
            return super().label(atoms, *rest)

    with pytest.raises(OSError, match='No space'):
        label_structures(read_sources(structures), Dying(), output)
    assert not output.exists()
    engine = StandIn()
    assert label_structures(read_sources(structures), engine, output)['labelled_before'] == 3
    assert [x for x, _ in engine.runs] == [0.3]


def test_a_structure_that_was_at_work_finds_what_it_kept(structures, output):
    class Unlucky(StandIn):
        def label(self, atoms, folder, checkpoints, *rest):
            (checkpoints / 'density').write_text(f'of {atoms.positions[0, 0]}')
            if atoms.positions[0, 0] == 0.3:
                raise KeyboardInterrupt('at 0.3')
            return super().label(atoms, folder, checkpoints, *rest)

    class GoingOn(StandIn):
        def label(self, atoms, folder, checkpoints, *rest):
            found.append((atoms.positions[0, 0], [path.read_text() for path in checkpoints.iterdir()]))
            return super().label(atoms, folder, checkpoints, *rest)

    found = []
    with pytest.raises(KeyboardInterrupt, match='at 0.3'):
        label_structures(read_sources(structures), Unlucky(), output)
    assert len(list(pieces(output).glob('*.checkpoints'))) == 1
    label_structures(read_sources(structures), GoingOn(), output)
    assert found == [(0.3, ['of 0.3'])] and not pieces(output).exists()


def test_labels_that_are_no_numbers_count_as_a_failure(structures, output):
    class Broken(StandIn):
        def label(self, atoms, *rest):
            good = super().label(atoms, *rest)
            return Labels(**{**vars(good), 'efg': good.efg * np.nan})

    results = label_structures(read_sources(structures), Broken(), output)
    assert 'NaN' in results['failed'][0]['reason'] and not output.exists()


def test_a_damaged_piece_is_named(tmp_path, structures, output):
    write(tmp_path / 'two.extxyz', [crystal(0.1), crystal(0.2, 'C')])
    label_structures(read_sources(tmp_path / 'two.extxyz'), StandIn(), output)
    (piece,) = pieces(output).glob('*.json')
    piece.write_text(piece.read_text()[:50])
    with pytest.raises(InputError, match=f'{piece.name}: is damaged'):
        label_structures(read_sources(structures), StandIn(), output)


@pytest.mark.parametrize(
    ('cores', 'shares', 'expected'), [(1, True, 1), (3, True, 1), (6, True, 2), (7, True, 2), (6, False, 1)]
)
def test_cores_go_to_structures_first(structures, output, cores, shares, expected):
    engine = StandIn(shares_structures=shares)
    label_structures(read_sources(structures), engine, output, cores=cores)
    assert [processes for _, processes in engine.runs] == [expected] * 3


def test_the_order_does_not_depend_on_who_ends_first(structures, output, tmp_path):
    class Uneven(StandIn):
        def label(self, atoms, *rest):
            time.sleep(0.2 - atoms.positions[0, 0] / 2)
            return super().label(atoms, *rest)

    label_structures(read_sources(structures), Uneven(), output, cores=3)
    alone = tmp_path / 'alone.extxyz'
    label_structures(read_sources(structures), StandIn(), alone)
    assert output.read_bytes() == alone.read_bytes()


def test_two_runs_cannot_write_one_output(structures, output):
    class Nested(StandIn):
        def label(self, atoms, *rest):
            with pytest.raises(InputError, match='another run'):
                label_structures(read_sources(structures), StandIn(), output)
            return super().label(atoms, *rest)

    assert label_structures(read_sources(structures), Nested(), output)['enough']


def test_programs_do_not_outlive_the_block(tmp_path):
    with pytest.raises(RuntimeError, match='while a program runs'), Programs() as programs:
        started = time.monotonic()
        import threading

        status = []
        command = [sys.executable, '-c', 'import time; time.sleep(60)']
        thread = threading.Thread(
            target=lambda: status.append(programs.run(command, tmp_path, tmp_path / 'out', os.environ))
        )
        thread.start()
        time.sleep(0.3)
        raise RuntimeError('while a program runs')
    thread.join()
    assert status == [-15] and time.monotonic() - started < 30
    assert programs.run(command, tmp_path, tmp_path / 'out', os.environ) == -15  # nor does anything start after it


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_whole_pieces_and_no_program(structures, output, tmp_path, number):
    """The first structure is done at once, the second sleeps until it is killed."""
    script = tmp_path / 'run.py'
    script.write_text(
        textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_label import LabellingError, StandIn, label_structures, read_sources
        class Slow(StandIn):
            def label(self, atoms, folder, checkpoints, programs, processes):
                if atoms.positions[0, 0] > 0.15:
                    print('asleep', flush=True)
                    sleep = [sys.executable, '-c', 'import time; time.sleep(60)']
                    if programs.run(sleep, folder, folder / 'out', {{}}):
                        raise LabellingError('was stopped')
                return super().label(atoms, folder, checkpoints, programs, processes)
        try:
            label_structures(read_sources({str(structures)!r}), Slow(), {str(output)!r})
        except KeyboardInterrupt:
            sys.exit(7)
        """)
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == 'asleep\n'
    process.send_signal(number)
    assert process.wait(30) == 7
    assert not output.exists()
    engine = StandIn()
    label_structures(read_sources(structures), engine, output)
    assert sorted(x for x, _ in engine.runs) == [0.2, 0.3]


def test_results_are_json(structures, output, tmp_path):
    from aiida_ufpnmr.engine.files import write_json

    write_json(tmp_path / 'results.json', label_structures(read_sources(structures), StandIn(), output))
    results = json.loads((tmp_path / 'results.json').read_text())
    assert (results['structures'], results['labelled'], results['engine_versions']) == (4, 4, ['stand-in-1.0'])
    assert results['datasets'] == {'Li': ['Li.PBE:00']}


def test_the_record_of_a_label_is_told_from_what_else_is_said_of_a_structure():
    record = LabelRecord(source_row=0, engine='castep', datasets={'S': 's', 'Li': 'l'}, pseudopotentials={'Li_1': 'p'})
    entries = record.entries()
    assert entries == {
        'source_row': 0, 'dataset_Li': 'l', 'dataset_S': 's', 'pseudopotential_Li_1': 'p', 'engine': 'castep',
    }  # fmt: skip
    assert LabelRecord.of({**entries, 'config_type': 'run1', 'step': 3}) == record
    assert [key for key in (*entries, 'config_type', 'datasets', 'step') if not LabelRecord.owns(key)] == [
        'config_type', 'datasets', 'step',
    ]  # fmt: skip


def test_every_entry_of_the_shipped_labels_belongs_to_the_structure_or_to_its_record(example_data):
    for atoms in read_dataset(example_data.with_name('li3ps4-pbe-gpaw-v5.extxyz')):
        own = {key: value for key, value in atoms.info.items() if LabelRecord.owns(key)}
        assert LabelRecord.of(atoms.info).entries() == own != {}
        assert set(atoms.info) - set(own) == {'config_type'}
