"""What operations yield."""

from collections.abc import Generator
from typing import Any, TypeAlias

from pyinfra.api import StringCommand
from pyinfra.connectors.util import CommandOutput

Commands: TypeAlias = Generator[StringCommand, None, None]


class LiveCommand(StringCommand):
    """As ``StringCommand``, but prints the host's output line by line while it runs: for what takes long."""

    def execute(self, state: Any, host: Any, connector_arguments: Any) -> Any:
        shown = {"print_output": True, "print_input": state.print_input}
        ok, output = host.run_shell_command(self, **shown, **connector_arguments)
        # pyinfra prints the output of a failed command: this one's has been seen.
        return ok, output if ok else CommandOutput([])
