from tandem.facts.answer import Answer


class HostState(Answer):
    """Packages, users and kernel settings."""

    program = "observe_host"
