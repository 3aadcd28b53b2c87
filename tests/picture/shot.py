"""
Take the pictures for docs/: a run's report down to its legend, in light colours.

    python -m tests.picture.shot <state>/gapless/<run>/run.jsonl docs/report.png
"""

from __future__ import annotations

import base64
import struct
import sys
import tempfile
import zlib
from pathlib import Path

from fabfile.report import document
from fabfile.report.figures import figures
from tests.lab import system
from tests.picture.browser import Browser
from tests.picture.recording import plain

WIDTH = 1200


# A picture of flat colours needs no more than 256 of them, and is a third as large: the most frequent stay what they are.
INDEXED = """
const [data, width, height, done] = arguments;
const image = new Image();
image.onload = () => {
  const canvas = new OffscreenCanvas(width, height).getContext('2d');
  canvas.drawImage(image, 0, 0);
  const pixels = new Uint32Array(canvas.getImageData(0, 0, width, height).data.buffer);
  const counts = new Map();
  for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) || 0) + 1);
  const palette = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a)).slice(0, 256);
  const parts = (pixel) => [0, 8, 16].map((shift) => (pixel >>> shift) & 255);
  const far = (one, two) => parts(one).reduce((sum, part, at) => sum + (part - parts(two)[at]) ** 2, 0);
  const nearest = new Map();
  for (const pixel of counts.keys()) {
    nearest.set(pixel, palette.reduce((best, each, at) => (far(pixel, each) < far(pixel, palette[best]) ? at : best), 0));
  }
  let text = '';
  for (const pixel of pixels) text += String.fromCharCode(nearest.get(pixel));
  done({palette: palette.flatMap(parts), pixels: btoa(text)});
};
image.src = 'data:image/png;base64,' + data;
"""


def png(width: int, height: int, palette: bytes, pixels: bytes) -> bytes:
    """Write a PNG with a palette; a pixel is one byte."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = b"".join(b"\0" + pixels[at:at + width] for at in range(0, width * height, width))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"PLTE", palette) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        page.write_text(document.document(figures(list(plain(document.read(source))))))
        browser = Browser(system.ensure_one("chromedriver"), system.ensure_one("chromium"), Path(folder) / "profile")
        try:
            browser.see(page, WIDTH, "light")
            bottom = browser.run("return document.querySelector('figcaption').getBoundingClientRect().bottom")
            height = int(bottom) + 20
            taken = browser.ask("/execute/async", {"script": INDEXED, "args": [browser.ask("/screenshot"), WIDTH, height]})
            target.write_bytes(png(WIDTH, height, bytes(taken["palette"]), base64.b64decode(taken["pixels"])))
        finally:
            browser.close()


if __name__ == "__main__":
    main()
