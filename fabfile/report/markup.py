"""Write HTML and SVG so that nothing which a host, an app or a commit says can be taken for markup."""

from __future__ import annotations

import functools
import html

from ..errors import safe


def text(value: object) -> str:
    """Make any text fit to be read on a page: markup in it stays text, what would drive a terminal is left out."""
    return html.escape(safe(value))


def tag(name: str, *inside: str, **attributes: object) -> str:
    """Write one element around markup; an attribute may hold any text, and what ends in `_` is named without."""
    given = "".join([f' {_named(key)}="{_value(each)}"' for key, each in attributes.items()])
    return f"<{name}{given}>{''.join(inside)}</{name}>" if inside else f"<{name}{given}/>"


@functools.cache
def _named(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def titled(words: object) -> str:
    """Write what is to be seen where a mouse rests."""
    return f"<title>{text(words)}</title>"


def moved(x: float, y: float, *inside: str, scale: float = 1.0) -> str:
    """Put a drawing elsewhere."""
    return tag("g", *inside, transform=f"translate({_value(x)} {_value(y)}){f' scale({scale:g})' if scale != 1.0 else ''}")


def listed(items: list[str], **attributes: object) -> str:
    """Write a list of markup."""
    return tag("ul", *(tag("li", item) for item in items), **attributes)


def _value(value: object) -> str:
    return f"{round(value, 1):g}" if isinstance(value, int | float) else text(value)
