"""Runs in an engine's container with the Python of vLLM: every route of its API, as one JSON line.

The arguments are those of the engine that runs there; VLLM_SERVER_DEV_MODE=1 adds the routes that it would open.
Output: [[path, [methods]], ...]; a mounted application has the method "MOUNT".
"""

import json
from pathlib import Path

from vllm.entrypoints.launchers.app import build_app  # type: ignore[import-not-found]
from vllm.entrypoints.launchers.cli_args import make_arg_parser  # type: ignore[import-not-found]
from vllm.utils.argparse_utils import FlexibleArgumentParser  # type: ignore[import-not-found]

words = Path("/proc/1/cmdline").read_text().split("\0")[:-1]
arguments = make_arg_parser(FlexibleArgumentParser()).parse_args(words[words.index("serve") + 1 :])
routes = build_app(arguments, ("generate",)).routes
print(json.dumps([[route.path, sorted(getattr(route, "methods", None) or ["MOUNT"])] for route in routes]))
