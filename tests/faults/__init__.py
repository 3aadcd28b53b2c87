"""Break things on purpose while a deploy runs, write all that happens into one history, and judge it by one checker."""
