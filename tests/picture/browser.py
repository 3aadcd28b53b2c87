"""Drive a real headless Chromium, by the WebDriver protocol alone."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import requests

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-default-apps", "--hide-scrollbars", "--force-device-scale-factor=1",
)


class Browser:
    """Hold one browser with a profile of its own in `folder`; it asks nobody for anything."""

    def __init__(self, driver: str, chromium: str, folder: Path) -> None:
        self.process = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        port = next(line for line in self.process.stdout if "on port" in line and "successfully" in line).rstrip(".\n").split()[-1]
        self.http = requests.Session()
        self.http.trust_env = False
        self.url = f"http://127.0.0.1:{port}/session"
        options = {"binary": chromium, "args": [*FLAGS, f"--user-data-dir={folder}"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        self.url += "/" + self.ask("", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def close(self) -> None:
        try:
            self.http.delete(self.url, timeout=10)
        finally:
            self.process.terminate()
            self.process.wait(10)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send one command; raise what the browser has to say against it."""
        answer = self.http.post(self.url + path, json=body, timeout=60) if body is not None else self.http.get(self.url + path, timeout=60)
        value = answer.json()["value"]
        assert answer.ok, value
        return value

    def devtools(self, command: str, **params: Any) -> Any:
        return self.ask("/goog/cdp/execute", {"cmd": command, "params": params})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page; what it gives must be JSON."""
        return self.ask("/execute/sync", {"script": script, "args": list(arguments)})

    def see(self, file: Path, width: int, scheme: str, media: str = "") -> None:
        """Open a page at a width, in a colour scheme, all of its height in view."""
        self.devtools("Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.ask("/url", {"url": file.as_uri()})
        height = self.run("return document.documentElement.scrollHeight")
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def picture(self) -> bytes:
        """Give what is to be seen, as PNG."""
        return base64.b64decode(self.ask("/screenshot"))

    def complaints(self) -> list[str]:
        """Give what the page said in the console since the last call."""
        return [each["message"] for each in self.ask("/se/log", {"type": "browser"})]

    def asked_for(self) -> list[str]:
        """Give the addresses that pages asked for since the last call; the browser's own pages and what is written out do not count."""
        told = [json.loads(each["message"])["message"] for each in self.ask("/se/log", {"type": "performance"})]
        urls = [each["params"]["request"]["url"] for each in told if each["method"] == "Network.requestWillBeSent"]
        return [url for url in urls if not url.startswith(("chrome:", "chrome-untrusted:", "data:"))]

    def colours(self, picture: bytes, left: int, top: int, width: int, height: int) -> dict[str, int]:
        """Count the pixels of each colour in a part of a picture; the browser itself decodes it."""
        return self.ask("/execute/async", {"script": COUNT, "args": [base64.b64encode(picture).decode(), left, top, width, height]})


COUNT = """
const [data, left, top, width, height, done] = arguments;
const image = new Image();
image.onload = () => {
  const canvas = new OffscreenCanvas(width, height).getContext('2d');
  canvas.drawImage(image, -left, -top);
  const found = {};
  const pixels = canvas.getImageData(0, 0, width, height).data;
  for (let at = 0; at < pixels.length; at += 4) {
    const name = '#' + [0, 1, 2].map((part) => pixels[at + part].toString(16).padStart(2, '0')).join('');
    found[name] = (found[name] || 0) + 1;
  }
  done(found);
};
image.src = 'data:image/png;base64,' + data;
"""

# Give every text that can be seen with the contrast to what is painted below its middle (WCAG 2.2), the faintest first.
CONTRAST = """
const parse = (colour) => {
  const parts = colour.match(/[\\d.]+/g).map(Number);
  return [parts[0], parts[1], parts[2], parts.length > 3 ? parts[3] : 1];
};
const filled = (element) => {
  const style = getComputedStyle(element);
  if (!(element instanceof SVGElement) || element instanceof SVGSVGElement) return parse(style.backgroundColor);
  if (element instanceof SVGTextElement || style.fill === 'none') return [0, 0, 0, 0];
  const pattern = style.fill.match(/#([\\w-]+)/);
  const colour = parse(getComputedStyle(pattern ? document.querySelector('#' + pattern[1] + ' rect') : element).fill);
  return [colour[0], colour[1], colour[2], colour[3] * style.opacity * style.fillOpacity];
};
const over = (top, below) => [0, 1, 2].map((at) => top[at] * top[3] + below[at] * (1 - top[3])).concat(1);
const light = (colour) => {
  const [red, green, blue] = colour.map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  const element = node.parentElement;
  if (!node.data.trim() || element.closest('title, .unseen')) continue;
  const range = document.createRange();
  range.selectNodeContents(node);
  const box = range.getBoundingClientRect();
  const stack = document.elementsFromPoint(box.x + box.width / 2, box.y + box.height / 2);
  const style = getComputedStyle(element);
  const ink = parse(element instanceof SVGElement ? style.fill : style.color);
  const below = stack.filter((each) => each !== element).map(filled);
  if (!stack.length) continue;
  const paper = below.reverse().reduce((sum, each) => over(each, sum), [255, 255, 255, 1]);
  const [one, two] = [light(over(ink, paper)), light(paper)].sort((a, b) => b - a);
  found.push({ratio: (one + 0.05) / (two + 0.05), text: node.data.trim().slice(0, 40), ink, paper});
}
return found.sort((a, b) => a.ratio - b.ratio);
"""

# Give the pairs of texts in the picture that lie upon each other, and the texts that leave it.
COLLISIONS = """
const whole = document.querySelector('.picture').getBoundingClientRect();
const texts = [...document.querySelectorAll('.picture text')].map((each) => [each.lastChild.data, each.getBoundingClientRect()]);
const found = [];
texts.forEach(([word, box], at) => {
  if (box.left < whole.left || box.right > whole.right + 1 || box.top < whole.top || box.bottom > whole.bottom + 1) found.push([word, 'leaves']);
  for (const [other, there] of texts.slice(at + 1)) {
    const wide = Math.min(box.right, there.right) - Math.max(box.left, there.left);
    const high = Math.min(box.bottom, there.bottom) - Math.max(box.top, there.top);
    if (wide > 1 && high > 4) found.push([word, other]);
  }
});
return found;
"""
