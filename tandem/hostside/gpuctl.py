"""tandem-gpu: what the units of the gpu noun run. Exit status 0: all well; 1: not, with a sentence what to do."""

import argparse
import sys
from collections.abc import Sequence

from tandem.hostside import cdi, drift


def main(words: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(words)
    if options.command == "cdi":
        try:
            print(cdi.refresh(options.cards, options.wait_seconds))
        except cdi.NotMade as problem:
            print(f"no CDI specification: {problem}", file=sys.stderr)
            return 1
        return 0
    sentences = drift.check(options.managed)
    for sentence in sentences:
        print(sentence, file=sys.stderr)
    return 1 if sentences else 0


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="tandem-gpu", description="The cards of this host: CDI and drift.")
    commands = top.add_subparsers(required=True, dest="command", metavar="COMMAND")
    text = "generate /run/cdi/nvidia.yaml and check that these cards are in it"
    one = commands.add_parser("cdi", help=text, description=text)
    one.add_argument("--cards", type=lambda word: [int(card) for card in word.split(",")], required=True)
    one.add_argument("--wait-seconds", type=float, default=0.0, help="for the device nodes")
    text = "compare the loaded driver with the installed one; what does not fit stands in /run/tandem/driver-mismatch"
    one = commands.add_parser("check", help=text, description=text)
    one.add_argument("--managed", action="store_true", help="the packages are Tandem's: they have to be held")
    return top


if __name__ == "__main__":
    sys.exit(main())
