"""The same verbs for `inv`, which CI uses; and this repository's own chores, which are make's."""

from typing import Any

from invoke import Collection, task

import fabfile


@task
def demo(c: Any) -> None:
    """Deploy, break and save a local fleet, under load."""
    c.run("make demo")


@task
def lab(c: Any) -> None:
    """Bring the local fleet up, and leave it."""
    c.run("make lab")


@task
def check(c: Any) -> None:
    """Lint and type-check."""
    c.run("make check")


namespace = Collection(*fabfile.namespace.tasks.values())
namespace.collections.update(fabfile.namespace.collections)
namespace.add_collection(Collection("repo", demo, lab, check))
