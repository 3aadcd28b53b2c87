"""The same verbs for `inv`, which CI uses; and this repository's own chores."""

from fabfile import namespace

__all__ = ["namespace"]
