from tandem.facts.answer import Answer


class BundleState(Answer):
    """What the folder that should be an offline bundle holds, and whether its key signed it."""

    program = "observe_bundle"
