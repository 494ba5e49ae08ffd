"""Debian's Chromium, driven over its DevTools protocol by two pipes: no driver, no port, no sleep.

Clicks and keys are the browser's own input events, so what is not visible or not enabled cannot be used.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections import deque
from pathlib import Path
from typing import Any, Final

COMMAND: Final = next(filter(shutil.which, ("chromium", "chromium-headless-shell")), None)
PATIENCE_S: Final = 30.0
_FLAGS: Final = (
    "--remote-debugging-pipe", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-popup-blocking", "--mute-audio", "--force-color-profile=srgb",
)  # fmt: skip

_DEEP: Final = """(selector) => {
  const roots = [document];
  for (const root of roots) {
    const found = root.querySelector(selector);
    if (found) return found;
    for (const each of root.querySelectorAll("*")) if (each.shadowRoot) roots.push(each.shadowRoot);
  }
  return null;
}"""
"""Finds an element in the page and its open shadow trees."""


class Browser:
    """A browser process; ``folder`` holds its profile."""

    def __init__(self, folder: Path) -> None:
        ours, theirs = os.pipe(), os.pipe()  # they read the first, we the second
        script = f'exec "$@" 3<&{ours[0]} 4>&{theirs[1]}'
        command = [str(COMMAND), *_FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
        self._log = (folder / "chromium.log").open("wb")
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", *command],
            pass_fds=(ours[0], theirs[1]),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        os.close(ours[0])
        os.close(theirs[1])
        self._to, self._from = ours[1], theirs[0]
        self._read, self._number = b"", 0
        self.events: deque[dict[str, Any]] = deque(maxlen=2_000)

    def call(self, method: str, session: str = "", **params: Any) -> Any:
        """A command's result. Raises AssertionError with what the browser says of it."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        until = time.monotonic() + PATIENCE_S
        while True:
            told = self._next(until)
            if told.get("id") == number:
                assert "error" not in told, (method, told.get("error"))
                return told["result"]
            self.events.append(told)

    def _next(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._from], [], [], max(0.0, until - time.monotonic()))
            assert ready, "the browser does not answer"
            piece = os.read(self._from, 1 << 20)
            assert piece, "the browser ended"
            self._read += piece
        line, _, self._read = self._read.partition(b"\0")
        told: dict[str, Any] = json.loads(line)
        return told

    def tab(self, *, width: int = 1280, dark: bool = False, script: bool = True) -> Tab:
        """A page in a browser context of its own, as of somebody else's browser."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        tab = Tab(self, target, context)
        tab.look_as(width=width, dark=dark)
        if not script:
            tab.call("Emulation.setScriptExecutionDisabled", value=True)
        return tab

    def close(self) -> None:
        with contextlib.suppress(OSError, AssertionError):
            self.call("Browser.close")
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._process.kill()
        self._process.wait()
        self._log.close()
        os.close(self._to)
        os.close(self._from)


class Tab:
    """One page, as somebody at the screen uses it."""

    def __init__(self, browser: Browser, target: str, context: str) -> None:
        self._browser, self._target, self._context = browser, target, context
        self._session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)  # a key serves the page in front alone

    def call(self, method: str, **params: Any) -> Any:
        return self._browser.call(method, self._session, **params)

    def look_as(self, *, width: int = 1280, dark: bool = False) -> None:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def sign_in(self, origin: str, cookie: str, value: str) -> None:
        """As if somebody had signed in to the CRM here."""
        one = {"name": cookie, "value": value, "url": origin, "httpOnly": True, "sameSite": "Lax"}
        self._browser.call("Storage.setCookies", cookies=[one], browserContextId=self._context)

    def add_key(self) -> None:
        """A security key is plugged in, that its owner touches and unlocks whenever it asks."""
        self.call("WebAuthn.enable")
        self.call(
            "WebAuthn.addVirtualAuthenticator",
            options={
                "protocol": "ctap2", "transport": "usb", "hasUserVerification": True, "isUserVerified": True,
                "automaticPresenceSimulation": True, "hasResidentKey": False,
            },
        )  # fmt: skip

    def go(self, url: str) -> None:
        told = self.call("Page.navigate", url=url)
        assert "errorText" not in told, told
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def value(self, expression: str) -> Any:
        """What an expression gives in the page."""
        told = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait(self, expression: str) -> Any:
        """Waits until an expression holds; while a page is left for another, it does not."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            with contextlib.suppress(AssertionError):
                if found := self.value(expression):
                    return found
            time.sleep(0.02)
        raise AssertionError(f"not in {PATIENCE_S} s: {expression}\n{self.text}")

    def see(self, text: str) -> None:
        """Waits until a text is on the page or in a dialog."""
        self.wait(f"({_TEXT})().includes({json.dumps(text)})")

    @property
    def text(self) -> str:
        return str(self.value(f"({_TEXT})()"))

    def click(self, selector: str) -> None:
        """Waits for the whole page and an element that can be clicked, and clicks in its middle."""
        found = f"({_DEEP})({json.dumps(selector)})"
        self.wait(f"(({_REACH}))({found})")
        x, y = self.value(f"({_MIDDLE})({found})")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, selector: str, text: str) -> None:
        self.click(selector)
        self.call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        code = {"Enter": 13, "Tab": 9, "Escape": 27}[key]
        more = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **more
            )

    def other(self) -> Tab:
        """The window that this page opened."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            for each in self._browser.call("Target.getTargets")["targetInfos"]:
                if each.get("openerId") == self._target:
                    return Tab(self._browser, each["targetId"], self._context)
            time.sleep(0.02)
        raise AssertionError("no window was opened")

    def complaints(self) -> list[str]:
        """What the browser logged as errors: refused scripts and styles, exceptions."""
        said = []
        for event in self._browser.events:
            entry = event.get("params", {}).get("entry", {})
            if (
                event.get("method") == "Log.entryAdded"
                and entry["level"] == "error"
                and entry["source"] != "network"
            ):
                said.append(entry["text"])
            if event.get("method") == "Runtime.exceptionThrown":
                said.append(str(event["params"]["exceptionDetails"]))
        return said

    def picture(self, file: Path) -> None:
        """The whole page as a PNG."""
        height = self.value("document.documentElement.scrollHeight")
        width = self.value("innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": max(height, 300), "scale": 1}
        data = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"]
        file.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        self._browser.call("Target.disposeBrowserContext", browserContextId=self._context)

    def __enter__(self) -> Tab:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_TEXT: Final = """() => {
  const texts = [document.body.innerText];
  const roots = [...document.querySelectorAll("*")].map((each) => each.shadowRoot).filter(Boolean);
  for (const root of roots) texts.push(root.textContent);
  return texts.join("\\n");
}"""
_REACH: Final = """(element) => {
  if (!element || element.disabled || document.readyState !== "complete") return false;
  element.scrollIntoView({ block: "center", behavior: "instant" });
  const box = element.getBoundingClientRect();
  const at = element.getRootNode().elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
  return box.width > 0 && (at === element || element.contains(at));
}"""
_MIDDLE: Final = """(element) => {
  const box = element.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
}"""
