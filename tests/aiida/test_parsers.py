"""Claims about parsers, on forged remains of commands: good, missing, broken."""

import json

import pytest

GOOD = {'exit-status': '0\n', 'ufpnmr.out': '', 'ufpnmr.err': ''}
#: A parser takes any file that starts like PNG for a figure.
PNG = b'\x89PNG\r\n\x1a\n'


def remains(results: dict, **changes: str) -> dict[str, str]:
    files = {**GOOD, 'results.json': json.dumps({**results, 'timing': {'wall_s': 1.0}})}
    return {**files, **{name.replace('_json', '.json'): text for name, text in changes.items()}}


@pytest.fixture
def case(
    request,
    potential_file,
    efg_model_file,
    trajectory_file,
    dataset_file,
    gpaw_labels_file,
    dataset,
    trajectory,
    structure,
):
    """Name, inputs, output files and output label of one kind of calculation."""
    h5 = trajectory_file.read_bytes()
    return {
        'fit_potential': ('ufpnmr.fit_potential', {}, {'potential.h5': potential_file.read_bytes()}, 'potential'),
        'fit_efg': ('ufpnmr.fit_efg', {}, {'efg-model.h5': efg_model_file.read_bytes()}, 'efg_model'),
        'md': ('ufpnmr.md', {}, {'trajectory.h5': h5}, 'trajectory'),
        'acf': ('ufpnmr.acf', {}, {'acf.h5': h5, 'figure.png': PNG}, 'functions'),
        'analyse': ('ufpnmr.analyse', {}, {'analysis.h5': h5, 'figure.png': PNG}, 'functions'),
        'label_gpaw': (
            'ufpnmr.label_gpaw',
            {'structures': dataset},
            {'labels.extxyz': gpaw_labels_file.read_bytes()},
            'dataset',
        ),
        'predict_frames': ('ufpnmr.predict_efg', {'trajectory': trajectory}, {'prediction.h5': h5}, 'trajectory'),
        'predict_structure': (
            'ufpnmr.predict_efg',
            {'structure': structure},
            {'prediction.extxyz': dataset_file.read_bytes()},
            'predictions',
        ),
    }[request.param]


every_kind = pytest.mark.parametrize(
    'case',
    ['fit_potential', 'fit_efg', 'md', 'acf', 'analyse', 'label_gpaw', 'predict_frames', 'predict_structure'],
    indirect=True,
)


@every_kind
def test_good_remains_become_nodes(case, parse):
    name, inputs, outputs, label = case
    found, status, _ = parse(name, remains({'x_khz': 1.5}), outputs, inputs)
    assert status == 0
    assert found['results'].get_dict() == {'x_khz': 1.5}
    assert found['timing'].get_dict() == {'wall_s': 1.0}
    assert label in found
    assert ('figure' in found) == ('figure.png' in outputs)


@every_kind
def test_a_missing_output_file_leaves_no_node(case, parse):
    name, inputs, outputs, _ = case
    for missing in outputs:
        rest = {file: content for file, content in outputs.items() if file != missing}
        found, status, message = parse(name, remains({}), {**rest, missing: b''}, inputs)
        assert (status, found) == (330, {}) and missing in message


@every_kind
def test_a_damaged_output_file_leaves_no_node(case, parse, tmp_path):
    name, inputs, outputs, _ = case
    damaged = {file: content if file == 'figure.png' else content[:100] for file, content in outputs.items()}
    found, status, message = parse(name, remains({}), damaged, inputs)
    assert (status, found) == (330, {})
    assert str(tmp_path) not in message


@every_kind
@pytest.mark.parametrize('text', ['', '{"x": ', '[1, 2]'])
def test_results_that_are_missing_or_broken_leave_no_node(case, parse, text):
    name, inputs, outputs, _ = case
    found, status, message = parse(name, remains({}, results_json=text), outputs, inputs)
    assert (status, found) == (320, {}) and 'results.json' in message


@every_kind
@pytest.mark.parametrize(('ended', 'expected'), [('2', 210), ('1', 310), ('139', 310)])
def test_a_failed_command_leaves_no_node_and_its_last_words(case, parse, ended, expected):
    name, inputs, outputs, _ = case
    files = {**remains({}), 'exit-status': ended, 'ufpnmr.err': 'warning\nufpnmr: error: x.extxyz: no such file\n'}
    found, status, message = parse(name, files, outputs, inputs)
    assert (status, found) == (expected, {})
    assert message.endswith('x.extxyz: no such file')


@every_kind
@pytest.mark.parametrize('ended', [None, '137', '143'], ids=['job killed', 'command killed', 'command terminated'])
def test_a_command_that_was_cut_off_can_be_told_from_one_that_failed(case, parse, ended):
    name, inputs, outputs, _ = case
    files = {file: text for file, text in remains({}).items() if file != 'exit-status'}
    found, status, _ = parse(name, files if ended is None else {**files, 'exit-status': ended}, outputs, inputs)
    assert (status, found) == (400, {})


@pytest.mark.parametrize(('reason', 'expected'), [('closest_approach', 410), ('temperature', 411)])
def test_a_run_that_a_guard_stopped_keeps_its_frames_under_another_name(parse, trajectory_file, reason, expected):
    files = {**remains({'stop_reason': reason}), 'exit-status': '1', 'ufpnmr.err': 'ufpnmr: error: stopped at step 9\n'}
    found, status, message = parse('ufpnmr.md', files, {'trajectory.h5': trajectory_file.read_bytes()})
    assert status == expected and 'stopped at step 9' in message
    assert list(found) == ['stopped_trajectory']
    found, status, _ = parse('ufpnmr.md', files, {'trajectory.h5': b'broken'})
    assert (status, found) == (310, {})
