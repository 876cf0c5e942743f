"""A headless Chromium that opens pages: by DevTools' protocol over its pipe, so without a library.

Whatever is said in the console of a page as an error, raised in it, or asked for from elsewhere, is
collected.
"""

import base64
import contextlib
import dataclasses
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
_SECONDS = 60


@dataclasses.dataclass
class Seen:
    """What a page looks like, and what went wrong in it.

    Attributes:
      errors: of its console and of its scripts.
      requests: the addresses that it asked for, besides its own file and ``data:``.
      width: of its content, in pixels; larger than the window's where it scrolls sideways.
      overflowing: the elements that reach beyond the window, outside boxes that scroll.
      background: of its body, as CSS has it.
      picture: of all of it, a PNG.
    """

    errors: list[str]
    requests: list[str]
    width: int
    overflowing: list[str]
    background: str
    picture: bytes


_OVERFLOWING = """
[...document.querySelectorAll('body *')].filter(e =>
  e.getBoundingClientRect().right > WIDTH + 0.5 && !e.closest('.scroll, .unseen')
).map(e => e.tagName + '.' + e.className)
"""


class Browser:
    """A browser with a profile of its own; to be used in a ``with``."""

    def __enter__(self):
        self._stack = contextlib.ExitStack()
        profile = self._stack.enter_context(
            tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        )
        their_in, self._out = os.pipe()
        self._in, their_out = os.pipe()
        script = f'exec "$@" 3<&{their_in} 4>&{their_out}'
        flags = [
            "--headless",
            "--no-sandbox",  # which root may not have
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-extensions",
            "--disable-background-networking",
            "--no-first-run",
            "--hide-scrollbars",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
        ]
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", PROGRAM, *flags, "about:blank"],
            pass_fds=(their_in, their_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"HOME": profile},
        )
        os.close(their_in)
        os.close(their_out)
        self._stack.callback(self._end)
        self._numbers, self._rest, self._events = itertools.count(1), b"", []
        return self

    def __exit__(self, *exception):
        self._stack.close()

    def _end(self):
        with contextlib.suppress(OSError):
            os.write(self._out, json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def open(self, path: Path, *, width: int, dark: bool = False) -> Seen:
        """Opens a file in a window of so many pixels, and looks at it."""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

        def ask(method, **parameters):
            return self._ask(method, session, **parameters)

        def value(expression):
            return ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"][
                "value"
            ]

        for domain in ("Page", "Runtime", "Log", "Network"):
            ask(f"{domain}.enable")
        ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        ask("Emulation.setEmulatedMedia", features=[scheme])
        self._events.clear()
        ask("Page.navigate", url=path.absolute().as_uri())
        self._wait_for("Page.loadEventFired")
        overflowing = value(_OVERFLOWING.replace("WIDTH", str(width)))
        wide, high = value("[document.documentElement.scrollWidth, document.body.scrollHeight]")
        background = value("getComputedStyle(document.body).backgroundColor")
        clip = {"x": 0, "y": 0, "width": width, "height": high, "scale": 1}
        shot = ask("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        ask("Page.stopLoading")
        events = list(self._events)
        self._ask("Target.closeTarget", targetId=target)
        return Seen(
            errors=[said for event in events if (said := _error(event))],
            requests=[
                address
                for event in events
                if event["method"] == "Network.requestWillBeSent"
                and (address := event["params"]["request"]["url"]) != path.absolute().as_uri()
                and not address.startswith("data:")
            ],
            width=wide,
            overflowing=overflowing,
            background=background,
            picture=base64.b64decode(shot["data"]),
        )

    def _ask(self, method, session=None, **parameters):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _wait_for(self, method):
        while not any(event["method"] == method for event in self._events):
            self._read()

    def _read(self):
        """The next message; one that is no answer is kept as an event."""
        until = time.monotonic() + _SECONDS
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0, until - time.monotonic()))
            piece = os.read(self._in, 1 << 20) if ready else b""
            assert piece, "the browser has ended, or says nothing"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        found = json.loads(message)
        if "method" in found:
            self._events.append(found)
        return found


def _error(event):
    """What an event says went wrong; None where it is about something else."""
    parameters = event["params"]
    if event["method"] == "Runtime.exceptionThrown":
        return json.dumps(parameters["exceptionDetails"])
    if event["method"] == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "assert"):
        return json.dumps(parameters["args"])
    if event["method"] == "Log.entryAdded" and parameters["entry"]["level"] == "error":
        return parameters["entry"]["text"]
    return None
