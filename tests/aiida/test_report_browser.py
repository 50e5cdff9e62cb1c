"""Claims about the report as a browser shows and prints it."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from browser import browse, find_chromium
from matplotlib.image import imread

from aiida_ufpnmr.tools.answer import sentence
from aiida_ufpnmr.tools.queries import calculations_behind

#: Least contrast of text that WCAG 2 asks for.
CONTRAST = 4.5


@pytest.fixture(scope='module')
def report(pipeline, command, tmp_path_factory) -> Path:
    """The page about a whole run with the real commands."""
    folder = tmp_path_factory.mktemp('report')
    assert command('report', pipeline.pk, '-o', folder).exit_code == 0
    return folder / 'index.html'


@pytest.fixture(scope='module')
def page(report):
    chromium = find_chromium()
    if chromium is None:
        pytest.skip('no Chromium; as root, tests/run.sh installs it (Debian: apt-get install chromium)')
    with browse(chromium) as page:
        page.open(report)
        yield page


@pytest.fixture(scope='module')
def printed(page, tmp_path_factory) -> Path:
    """The page as a reader who prefers dark colours prints it."""
    if not shutil.which('pdftotext'):
        pytest.skip('no pdftotext; as root, tests/run.sh installs it (Debian: apt-get install poppler-utils)')
    page.show(1400, 'dark')
    path = tmp_path_factory.mktemp('printed') / 'report.pdf'
    path.write_bytes(page.pdf())
    return path


def test_the_page_asks_for_nothing_but_itself(page, report):
    page.open(report)
    outside = [address for address in page.requested if not address.startswith('data:')]
    assert outside == [report.as_uri()]
    assert page.complaints == []


def test_the_browser_refuses_whatever_is_not_in_the_page(page, report, tmp_path):
    (tmp_path / 'other.png').write_bytes(report.with_name('hops.png').read_bytes())
    width = (
        'new Promise(done => { const image = new Image();'
        ' image.onload = image.onerror = () => done(image.naturalWidth);'
        f' image.src = "{(tmp_path / "other.png").as_uri()}" }})'
    )
    assert page.value(width) == 0
    assert any('Content Security Policy' in complaint for complaint in page.complaints), page.complaints
    page.open(report)


def test_the_reader_finds_question_answer_method_errors_provenance_cost_and_versions(page, pipeline):
    assert page.value('[...document.querySelectorAll("h1")].map(h => h.innerText)') == [
        'How fast do the Li ions of Li₃PS₄ hop, as NMR would see it?'
    ]
    assert page.value('[...document.querySelectorAll("h2, h3")].map(h => h.innerText)') == [
        'Figures', 'Method', 'Errors of the models', 'Provenance', 'Data', 'Steps', 'Settings', 'Cost', 'Versions',
    ]  # fmt: skip
    text = page.value('document.body.innerText')
    assert sentence(pipeline.outputs.tau.get_dict()) in ' '.join(text.split())
    for node in (pipeline, pipeline.outputs.tau, *calculations_behind(pipeline)):
        assert node.uuid in text


def test_every_figure_is_loaded_and_described(page):
    found = page.value('[...document.images].map(e => [e.naturalWidth, e.alt, e.closest("figure") !== null])')
    assert len(found) == 3
    assert all(width > 0 and len(description) > 20 and inside for width, description, inside in found)
    assert page.value('document.querySelector("svg.graph").getAttribute("aria-label")')


def test_every_table_says_what_its_cells_are(page):
    bare = 'table => !table.querySelector("thead th[scope=col]") || table.querySelector("th:not([scope])")'
    assert page.value(f'[...document.querySelectorAll("table")].filter({bare}).length') == 0


@pytest.mark.parametrize('width', [320, 400, 800, 1400, 2560])
def test_nothing_reaches_beyond_the_window(page, width):
    page.show(width)
    assert page.value('document.documentElement.scrollWidth') <= page.value('innerWidth') == width
    beyond = '[...document.body.querySelectorAll("*")].filter(e => e.getBoundingClientRect().right > innerWidth + 1)'
    assert page.value(f'{beyond}.map(e => e.outerHTML.slice(0, 200))') == []


@pytest.mark.parametrize('width', [400, 1400])
def test_labels_in_the_picture_can_be_read_and_stay_in_their_boxes(page, width):
    page.show(width)
    assert page.value('document.querySelector("svg.graph text").getBoundingClientRect().height') >= 10
    outside = """[...document.querySelectorAll("svg.graph g")].filter(g => [...g.querySelectorAll("text")].some(
        text => text.getBBox().width > g.querySelector("rect").getBBox().width - 4)).map(g => g.textContent)"""
    assert page.value(outside) == []


#: Colour of each piece of text and of what lies behind it, as (text, [r, g, b], [r, g, b]) between 0 and 255.
TEXT_COLOURS = """[...document.body.querySelectorAll("*")].filter(
    e => [...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.data.trim())
).map(e => {
    const rgb = colour => colour.match(/[\\d.]+/g).map(Number);
    const box = e.closest("g")?.querySelector("rect");
    if (box) return [e.textContent, rgb(getComputedStyle(e).fill), rgb(getComputedStyle(box).fill)];
    let behind = e;
    while (behind && (rgb(getComputedStyle(behind).backgroundColor)[3] ?? 1) === 0) behind = behind.parentElement;
    const ground = behind ? rgb(getComputedStyle(behind).backgroundColor) : [255, 255, 255];
    return [e.textContent.slice(0, 40), rgb(getComputedStyle(e).color), ground];
})"""


def luminance(rgb) -> float:
    """Relative luminance of sRGB, after WCAG 2."""
    value = np.asarray(rgb[:3]) / 255
    return float(np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722))


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_text_stands_out_from_its_ground(page, scheme):
    page.show(1400, scheme)
    found = page.value(TEXT_COLOURS)
    assert len(found) > 100
    faint = []
    for text, colour, ground in found:
        dark, bright = sorted((luminance(colour), luminance(ground)))
        if (bright + 0.05) / (dark + 0.05) < CONTRAST:
            faint.append((text, colour, ground))
    assert faint == []


def figures_in(page, picture: np.ndarray) -> list[np.ndarray]:
    """The parts of a picture of the page that are its figures."""
    boxes = page.value(
        '[...document.images].map(e => e.getBoundingClientRect()).map(b => [b.x, b.y + scrollY, b.width, b.height])'
    )
    return [picture[int(y) : int(y + height), int(x) : int(x + width)] for x, y, width, height in boxes]


def test_the_page_is_light_or_dark_as_the_reader_prefers_and_so_are_its_figures(page):
    page.show(1400, 'light')
    picture = page.screenshot()
    assert np.median(picture) > 0.9
    for part in (picture, *figures_in(page, picture)):
        assert part[2, 2].min() > 0.9 and part.min() < 0.3
    page.show(1400, 'dark')
    picture = page.screenshot()
    assert np.median(picture) < 0.2
    for part in (picture, *figures_in(page, picture)):
        assert part[2, 2].max() < 0.2 and part.max() > 0.8


def printed_text(path: Path) -> str:
    """What is written in a PDF file, with a form feed after each sheet."""
    return subprocess.run(['pdftotext', '-layout', path, '-'], capture_output=True, text=True, check=True).stdout


def test_the_printed_page_holds_the_answer_and_is_white(printed, pipeline):
    text = printed_text(printed)
    assert 2 <= text.count('\f') <= 8
    assert sentence(pipeline.outputs.tau.get_dict()) in ' '.join(text.split('\f')[0].split())
    assert 'https://doi.org/10.1039/d4fd00074a' in ''.join(text.split())  # where paper cannot be clicked
    subprocess.run(['pdftoppm', '-r', '30', '-png', printed, printed.with_suffix('')], check=True)
    for sheet in sorted(printed.parent.glob('*.png')):
        picture = imread(sheet)
        assert picture.shape[0] / picture.shape[1] == pytest.approx(2**0.5, abs=0.01)  # A4
        assert np.median(picture) == 1.0 and np.min(picture[[0, -1]]) == 1.0


def test_no_figure_is_cut_by_the_end_of_a_sheet(printed):
    listed = subprocess.run(['pdfimages', '-list', printed], capture_output=True, text=True, check=True).stdout
    sheets = [line.split()[0] for line in listed.splitlines() if line.split()[2:3] == ['image']]
    assert len(sheets) == 3
    (drawn,) = [sheet for sheet in printed_text(printed).split('\f') if 'select structure' in sheet]
    assert 'trajectory' in drawn and 'summarise' in drawn and 'answer' in drawn
