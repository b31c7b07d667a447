"""A headless Chromium under test, driven through its own pipe with the DevTools protocol."""

import base64
import contextlib
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --remote-debugging-pipe --mute-audio "
    "--disable-background-networking --disable-component-update --disable-sync --hide-scrollbars "
    "--disable-extensions --disable-dev-shm-usage"
)


class Tab:
    """One tab: commands go out, and what it reports is kept."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read, self._buffer = write, read, b""
        self._number, self._session = 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """One command and its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            told = self._next(60)
            if told.get("id") == self._number:
                assert "error" not in told, (method, told["error"])
                return told["result"]

    def _next(self, seconds: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], seconds)
            assert ready, f"the browser said nothing for {seconds} s"
            part = os.read(self._read, 1 << 20)
            assert part, "the browser is gone"
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        told = json.loads(line)
        if "method" in told:
            self.events.append(told)
        return told

    def open(self, page: Path, *, wait: str = "true", seconds: float = 60) -> float:
        """Load a page and wait until a script is true; returns how long that took."""
        self.events.clear()
        began = time.perf_counter()
        self.ask("Page.navigate", url=page.as_uri())
        loaded = "document.readyState === 'complete' && location.href.startsWith('file:')"
        while not self.run(f"({loaded}) && ({wait})"):
            assert time.perf_counter() - began < seconds, f"never: {wait}"
            time.sleep(0.02)
        return time.perf_counter() - began

    def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is awaited."""
        told = self.ask(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in told, told.get("exceptionDetails")
        return told["result"].get("value")

    def key(self, key: str, *, shift: bool = False) -> None:
        """Press and release a key."""
        codes = {"Tab": 9, "ArrowRight": 39, "ArrowLeft": 37, "ArrowDown": 40, "End": 35, " ": 32}
        told = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
        told |= {"modifiers": 8 if shift else 0}
        text = {"text": " "} if key == " " else {}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **told, **text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **told)

    def look(self, *, dark: bool = False, width: int = 1400, height: int = 900) -> None:
        """Set the reader's colours and the size of the window."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **size)

    def shot(self, path: Path, clip: tuple[float, float, float, float] | None = None) -> Path:
        """A picture of the window, or of a part (x, y, width, height) of the whole page."""
        more: dict[str, Any] = {}
        if clip:
            more = {
                "clip": dict(zip(("x", "y", "width", "height"), clip, strict=True)) | {"scale": 1},
                "captureBeyondViewport": True,
            }
        told = self.ask("Page.captureScreenshot", format="png", **more)
        path.write_bytes(base64.b64decode(told["data"]))
        return path

    def pdf(self, path: Path) -> Path:
        """The page as it prints."""
        told = self.ask("Page.printToPDF", printBackground=False, preferCSSPageSize=True)
        path.write_bytes(base64.b64decode(told["data"]))
        return path

    @property
    def problems(self) -> list[str]:
        """What the console called an error, and what was thrown and not caught."""
        found = []
        for event in self.events:
            told = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(str(told["exceptionDetails"]))
            elif event["method"] == "Runtime.consoleAPICalled" and told["type"] == "error":
                found.append(str(told["args"]))
            elif event["method"] == "Log.entryAdded" and told["entry"]["level"] == "error":
                found.append(told["entry"]["text"])
        return found

    @property
    def requests(self) -> list[str]:
        """Every address the page asked for."""
        sent = [e for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [e["params"]["request"]["url"] for e in sent]


@contextlib.contextmanager
def tab(browser: str, profile: Path) -> Iterator[Tab]:
    """A tab of a fresh browser, which ends with it."""
    to_read, write = os.pipe()
    read, to_write = os.pipe()
    command = f'exec "$0" {FLAGS} --user-data-dir="$1" 3<&{to_read} 4>&{to_write}'
    process = subprocess.Popen(
        ["bash", "-c", command, browser, str(profile)],
        pass_fds=(to_read, to_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_read)
    os.close(to_write)
    try:
        yield Tab(write, read)
    finally:
        os.close(write)
        os.close(read)
        process.terminate()
        process.wait(20)
