"""The one ancestor of what ends a command of tandemctl with status 1."""


class Failed(Exception):
    """It was tried and did not end well. The message says what happened, what was left as it was and what to do."""
