from tandem.facts.answer import Answer


class PromptsState(Answer):
    """What has to be done to offer the wanted prompts in Open WebUI; ``why`` says why it can't be known yet."""

    program = "prompts"
