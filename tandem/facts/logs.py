from tandem.facts.answer import Answer


class JournalTimes(Answer):
    """When the journal's settings were written, and when its service started."""

    program = "observe_logs"
