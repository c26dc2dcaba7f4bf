"""The one exception of a decision that is a no."""


class Refused(Exception):
    """Tandem will not do this. The message says why, that nothing was changed, and what to do instead."""
