"""A fact that asks one program of ``tandem/hostside`` one question and reads one JSON line back."""

import json
from typing import Any, ClassVar

from pyinfra.api import FactBase, StringCommand
from pyinfra.api.exceptions import FactProcessError

from tandem.commands import host_program


class Answer(FactBase[dict[str, Any]]):
    """Abstract. ``program`` is the name of a file in ``tandem/hostside``; its docstring says what it answers."""

    program: ClassVar[str]

    def command(self, question: Any = None) -> StringCommand:
        """``question`` is anything that JSON can hold."""
        return host_program(self.program, question)

    def process(self, output: list[str]) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = json.loads(output[-1])
        except ValueError as error:
            raise FactProcessError(f"{self.program} did not answer in JSON: {output[-1][:200]!r}") from error
        return answer
