"""A headless Chromium, spoken to through the pipe of its DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.image import imread

#: What Debian, Ubuntu, Arch and Google call it.
NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')

#: The sandbox does not work for root, and what a browser does of its own accord is not under test.
FLAGS = (
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-dev-shm-usage',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--hide-scrollbars',
    '--remote-debugging-pipe',
)


def find_chromium() -> str | None:
    """Path of a Chromium, if there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """The one tab of a browser.

    Attributes:
        requested: every address that the page asked for since :meth:`open`.
        complaints: errors of scripts, of the network and of the security policy since then.
    """

    def __init__(self, to_browser: int, from_browser: int, patience_s: float = 60.0):
        self._to, self._from, self._patience_s = to_browser, from_browser, patience_s
        self._numbers = itertools.count(1)
        self._unread = b''
        self._session: str | None = None
        self._events: set[str] = set()
        self.requested: list[str] = []
        self.complaints: list[str] = []
        target = self._call('Target.createTarget', url='about:blank')['targetId']
        self._session = self._call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Page', 'Network', 'Runtime', 'Log'):
            self._call(f'{domain}.enable')

    def open(self, path: Path) -> None:
        """Load a local page and wait until everything of it is there."""
        self.requested.clear()
        self.complaints.clear()
        self._events.clear()
        self._call('Page.navigate', url=path.as_uri())
        while 'Page.loadEventFired' not in self._events:
            self._receive()

    def show(self, width: int, scheme: str = 'light') -> None:
        """Set the width of the window, and the colours that the reader prefers."""
        self._call('Emulation.setDeviceMetricsOverride', width=width, height=900, deviceScaleFactor=1, mobile=False)
        self._call('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': scheme}])

    def value(self, expression: str) -> Any:
        """Value of an expression in JavaScript, which must be one that JSON can hold."""
        found = self._call('Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True)
        assert 'exceptionDetails' not in found, found
        return found['result'].get('value')

    def screenshot(self) -> np.ndarray:
        """The whole page as (height, width, 3) between 0 and 1."""
        return imread(io.BytesIO(self.png()))[:, :, :3]

    def png(self) -> bytes:
        """The whole page as a PNG file."""
        return base64.b64decode(self._call('Page.captureScreenshot', captureBeyondViewport=True)['data'])

    def pdf(self) -> bytes:
        """The page as it is printed on A4."""
        size = {'paperWidth': 8.27, 'paperHeight': 11.69, 'preferCSSPageSize': True, 'printBackground': True}
        return base64.b64decode(self._call('Page.printToPDF', **size)['data'])

    def _call(self, method: str, **parameters) -> dict[str, Any]:
        number = next(self._numbers)
        message = {'id': number, 'method': method, 'params': parameters}
        if self._session:
            message['sessionId'] = self._session
        os.write(self._to, json.dumps(message).encode() + b'\0')
        while True:
            answer = self._receive()
            if answer.get('id') == number:
                assert 'error' not in answer, (method, answer)
                return answer['result']

    def _receive(self) -> dict[str, Any]:
        """The next message of the browser; events leave their trace."""
        deadline = time.monotonic() + self._patience_s
        while b'\0' not in self._unread:
            ready, _, _ = select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))
            piece = os.read(self._from, 1 << 20) if ready else b''
            assert piece, 'the browser has ended' if ready else f'the browser was silent for {self._patience_s:g} s'
            self._unread += piece
        message, _, self._unread = self._unread.partition(b'\0')
        event = json.loads(message)
        method, details = event.get('method', ''), event.get('params', {})
        self._events.add(method)
        if method == 'Network.requestWillBeSent':
            self.requested.append(details['request']['url'])
        elif method == 'Network.loadingFailed':
            self.complaints.append(details['errorText'])
        elif method == 'Runtime.exceptionThrown':
            self.complaints.append(details['exceptionDetails']['text'])
        elif method == 'Log.entryAdded' and details['entry']['level'] in ('warning', 'error'):
            self.complaints.append(details['entry']['text'])
        return event


@contextlib.contextmanager
def browse(chromium: str) -> Iterator[Page]:
    """A page in a browser of its own, with a profile that goes away with it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, open(Path(folder) / 'log', 'wb') as log:
        read_there, write_here = os.pipe()
        read_here, write_there = os.pipe()
        # The browser reads from its file descriptor 3 and writes to its 4; bash puts the ends of the pipes there.
        command = ['bash', '-c', f'exec "$@" 3<&{read_there} 4>&{write_there}', 'bash', chromium, *FLAGS]
        process = subprocess.Popen(
            [*command, f'--user-data-dir={folder}/profile', 'about:blank'],
            pass_fds=(read_there, write_there), stdout=log, stderr=log,
        )  # fmt: skip
        os.close(read_there)
        os.close(write_there)
        try:
            yield Page(write_here, read_here)
        finally:
            os.close(write_here)
            os.close(read_here)
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
