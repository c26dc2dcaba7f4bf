from tandem.facts.answer import Answer


class WeightsState(Answer):
    """Which files of the wanted models are published and unchanged."""

    program = "observe_weights"


class ModelFolders(Answer):
    """Every model on the host with its size, and which are in use."""

    program = "observe_models"
