from tandem.facts.answer import Answer


class StorageState(Answer):
    """The weights disk: what is on it and where it is mounted."""

    program = "observe_storage"
