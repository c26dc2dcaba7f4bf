from tandem.facts.answer import Answer


class ImageStates(Answer):
    """Which wanted images are in a local store, by digest."""

    program = "observe_images"
