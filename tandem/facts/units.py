from tandem.facts.answer import Answer


class UnitStates(Answer):
    """Every asked unit as systemd sees it, and what it was started with."""

    program = "observe_units"
