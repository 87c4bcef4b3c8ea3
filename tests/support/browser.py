"""Real headless Chromium for tests: where it is, how it is started, what tests do with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
MARKS = [
    pytest.mark.real,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="chromium and chromedriver are not installed"),
]
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
# The lowest contrast ratio (WCAG 2.2, 1.4.3) of any visible text against the nearest opaque ground behind it.
CONTRAST = """
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const rgba = (c) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data].map(v => v / 255); };
const light = (c) => { const [r, g, b] = c.map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const ground = (el) => { const over = [];
  for (let e = el; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor);
    if (c[3] > 0) over.push(c); if (c[3] > 0.99) break; }
  return over.reverse().reduce((a, c) => a.map((v, i) => v * (1 - c[3]) + c[i] * c[3]), [1, 1, 1]); };
let worst = [99, ''];
for (const el of document.querySelectorAll('main *, header *, footer *')) {
  const own = [...el.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  if (!own || !el.checkVisibility() || el.closest('svg, button:disabled, option')) continue;
  const a = light(rgba(getComputedStyle(el).color).slice(0, 3)), b = light(ground(el));
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < worst[0]) worst = [ratio, el.className + ': ' + el.textContent.slice(0, 60)];
}
return worst;
"""


@contextmanager
def browsing(profile: Path, *, offline: bool = False) -> Iterator[Any]:
    """A driver of a fresh browser that logs its console and its requests.

    Args:
        profile: empty directory for what the browser remembers.
        offline: without network.
    """
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    try:
        if offline:
            driver.execute_cdp_cmd("Network.enable", {})
            none = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
            driver.execute_cdp_cmd("Network.emulateNetworkConditions", none)
        yield driver
    finally:
        driver.quit()


def forget(driver: Any) -> None:
    """Empty both logs."""
    for kind in ("browser", "performance"):
        driver.get_log(kind)


def console(driver: Any) -> list[str]:
    """What the console said since it was last asked."""
    return [entry["message"] for entry in driver.get_log("browser")]


def requested(driver: Any) -> set[str]:
    """Addresses asked for since last asked, without their fragments."""
    asked = set()
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
            asked.add(message["params"].get("request", message["params"])["url"].partition("#")[0])
    return asked


def show(driver: Any, width: int, height: int = 800, scheme: str = "light") -> None:
    """Size of the window, and the colours that the system asks for; a window of less than 600 is a phone."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def click(driver: Any, selector: str) -> None:
    """Click the first element that fits."""
    driver.execute_script("document.querySelector(arguments[0]).click()", selector)


def choose(driver: Any, selector: str, value: str) -> None:
    """Choose a value in a select."""
    driver.execute_script(
        "const s = document.querySelector(arguments[0]); s.value = arguments[1]; s.dispatchEvent(new Event('change'))",
        selector,
        value,
    )


def text(driver: Any, selector: str = "body") -> str:
    """Text of the first element that fits, as it is seen."""
    return str(driver.execute_script("return document.querySelector(arguments[0]).innerText", selector))
