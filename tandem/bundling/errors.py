class BundleError(Exception):
    """The bundle can't be made; the message says why, what was left as it was, and what to do."""
