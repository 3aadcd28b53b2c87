"""Load modules while something else is waited for."""

from __future__ import annotations

import threading
from importlib import import_module


def preload(*modules: str, after: float = 0.0) -> None:
    """Load modules of this package beside us, `after` seconds from now; whoever wants one before it is there loads it as always."""
    loading = threading.Timer(after, lambda: [import_module(f"{__package__}.{module}") for module in modules])
    loading.daemon = True
    loading.start()
