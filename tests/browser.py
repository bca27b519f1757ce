"""Drives a headless Chromium through its debugging pipe: enough of the protocol to load a file and look at it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--remote-debugging-pipe"),
)

PATIENCE = 60
"""Seconds of silence after which the browser counts as dead."""


def program() -> str | None:
    """The browser of this machine, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page of one browser.

    Attributes:
        told: every event that the browser sent so far, as it sent it.
    """

    def __init__(self, to: int, back: int) -> None:
        self.told: list[dict[str, Any]] = []
        self._to, self._back, self._rest, self._count, self._session = to, back, b"", 0, ""
        page = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self._count += 1
        session = {"sessionId": self._session} if self._session else {}
        message = {"id": self._count, "method": method, "params": parameters, **session}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self.told.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._back], [], [], PATIENCE)
            assert ready, f"the browser said nothing for {PATIENCE} s"
            more = os.read(self._back, 1 << 20)
            assert more, "the browser ended"
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def open(self, file: Path, *, width: int = 1280, dark: bool = False, scripts: bool = True, media: str = "") -> None:
        """Load a file and wait until it is there."""
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.told.clear()
        self.call("Page.navigate", url=file.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.told):
            self.told.append(self._next())

    def value(self, expression: str) -> Any:
        """What an expression is in the page; the debugger may ask also where the page's own scripts are disabled."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def events(self, *methods: str) -> list[dict[str, Any]]:
        """The events of these kinds since the page was opened."""
        return [event for event in self.told if event.get("method") in methods]

    def picture(self, file: Path, selector: str = "html", most: int = 4000) -> None:
        """A picture of an element, from its top."""
        box = self.value(
            f"(() => {{ const r = document.querySelector({selector!r}).getBoundingClientRect();"
            "return [r.left + scrollX, r.top + scrollY, r.width, r.height] })()"
        )
        clip = dict(zip(("x", "y", "width", "height"), box, strict=True)) | {"scale": 1}
        clip["height"] = min(clip["height"], most)
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
        file.write_bytes(base64.b64decode(data))


@contextlib.contextmanager
def browser(home: Path) -> Iterator[Browser]:
    """A browser whose profile is in a folder; it ends with the block."""
    name = program()
    assert name is not None
    theirs_in, to = os.pipe()
    back, theirs_out = os.pipe()

    def connect() -> None:
        """The browser reads commands from 3 and writes answers to 4; copies first, for either may be 3 or 4 itself."""
        commands, answers = os.dup(theirs_in), os.dup(theirs_out)
        os.dup2(commands, 3)
        os.dup2(answers, 4)

    with subprocess.Popen(
        [name, *FLAGS, f"--user-data-dir={home}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        close_fds=False,
        preexec_fn=connect,
    ) as process:
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            yield Browser(to, back)
        finally:
            process.terminate()
            os.close(to)
            os.close(back)
