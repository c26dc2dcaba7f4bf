from tandem.facts.answer import Answer


class WeightsState(Answer):
    """Which files of the wanted models are published and unchanged."""

    program = "observe_weights"
