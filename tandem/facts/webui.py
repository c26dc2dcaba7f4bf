from tandem.facts.answer import Answer


class WebuiSeen(Answer):
    """{"slots": {slot: {"image", "parked"}}, "trial": measured seconds of the last start on a copy or null,
    "gap_seconds": of the last switch or null}.
    """

    program = "observe_webui"
