"""What a host has of the file tree."""

from tandem.facts.answer import Answer


class TreeState(Answer):
    """Every asked path with kind, mode, owner and SHA-256; the manifest. Never a file's content."""

    program = "observe_tree"


class FileTexts(Answer):
    """The text of some files, for ``--diff``. Only asked for files whose whole content Tandem renders: never a
    secret.
    """

    program = "read_files"
