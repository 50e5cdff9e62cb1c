"""Configuration of the documentation."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

# The processes are documented from their own description, for which AiiDA wants a
# profile: give it one in memory, and a folder of its own.
os.environ['AIIDA_PATH'] = tempfile.mkdtemp(prefix='ufpnmr-docs-')
os.mkdir(os.path.join(os.environ['AIIDA_PATH'], '.aiida'))
atexit.register(shutil.rmtree, os.environ['AIIDA_PATH'], ignore_errors=True)

from aiida import load_profile  # noqa: E402
from aiida.storage.sqlite_temp import SqliteTempBackend  # noqa: E402

from aiida_ufpnmr import __version__  # noqa: E402

load_profile(SqliteTempBackend.create_profile('docs'), allow_switch=True)

project = 'aiida-ufpnmr'
author = 'The aiida-ufpnmr developers'
copyright = '2026, The aiida-ufpnmr developers'
version = release = __version__

extensions = ['aiida.sphinxext', 'sphinx.ext.autodoc', 'sphinx.ext.mathjax', 'sphinx.ext.napoleon', 'sphinx_click']
html_theme = 'furo'
html_title = f'aiida-ufpnmr {version}'
html_show_sourcelink = False
html_extra_path = ['images/drawn']  # the report pages of kept runs, one click from the pages that tell of them
Path(__file__).with_name('images').joinpath('drawn').mkdir(exist_ok=True)
html_theme_options = {
    'light_css_variables': {'color-brand-primary': '#2a6f97', 'color-brand-content': '#2a6f97'},
    'dark_css_variables': {'color-brand-primary': '#7cc0e6', 'color-brand-content': '#7cc0e6'},
}

default_role = 'literal'
smartquotes = False  # they would turn --help into a dash
autodoc_typehints = 'description'
autodoc_member_order = 'bysource'
napoleon_google_docstring = True
napoleon_numpy_docstring = False


def keep_bars(lines):
    """|V_zz| in plain text is an absolute value, not a substitution of reStructuredText."""
    for number, line in enumerate(lines):
        parts = line.split('``')
        parts[::2] = [part.replace('|', '\\|') for part in parts[::2]]
        lines[number] = '``'.join(parts)


def add_example(app, context, lines):
    """Sub-commands keep their example apart from their text: show it as code."""
    example = getattr(context.command, 'example', None)
    if example:
        lines += ['', 'Example::', '', *(f'    {line}' for line in example.splitlines()), '']


def draw_figures(app):
    """Draw the figures of the topics with the functions that the commands use, and write the page of the analyses."""
    import analyses
    import figures

    figures.draw(Path(app.srcdir) / 'images' / 'drawn')
    figures.draw_materials(Path(app.srcdir) / 'images' / 'drawn')
    analyses.write(Path(app.srcdir) / 'reference')


def setup(app):
    """Called by Sphinx."""
    sys.path.insert(0, str(app.srcdir))
    app.connect('builder-inited', draw_figures)
    app.connect('autodoc-process-docstring', lambda app, what, name, item, options, lines: keep_bars(lines))
    app.connect('sphinx-click-process-description', lambda app, context, lines: keep_bars(lines))
    app.connect('sphinx-click-process-epilog', add_example)
