"""Runs on the host as root, standard library only: cards, driver, kernels, packages and CDI. Changes nothing.

Output: one JSON line, see ``tandem.hostside.gpu_state.observe``.
"""

import json

from tandem.hostside.gpu_state import observe


def main() -> None:
    print(json.dumps(observe()))


if __name__ == "__main__":
    main()
