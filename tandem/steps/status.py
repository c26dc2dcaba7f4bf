"""What a host serves and how a rollout on it goes, on one screen or as JSON, and its report. Changes nothing."""

import json
import shutil

from pyinfra import host
from pyinfra.api.exceptions import DeployError

from tandem import journal, reportfile
from tandem.domain.screen import lines
from tandem.facts.ctl import CtlStatus
from tandem.steps.doctor import AS_JSON

REPORT = "report"
"""``--data report=true`` also brings the comparison report to this machine."""

WIDTHS = (80, 130)


def show() -> None:
    """Prints the screen, or with ``--data json=true`` one line of JSON. Reads no configuration: it may be broken."""
    journal.start("status")
    as_json, with_report = wanted(AS_JSON), wanted(REPORT)
    status = host.get_fact(CtlStatus)
    if as_json:
        print(json.dumps({"host": host.name, **status}), flush=True)
    elif status:
        columns = shutil.get_terminal_size((100, 24)).columns
        print("\n".join(["", f"{host.name}:", *lines(status, min(max(columns, WIDTHS[0]), WIDTHS[1]))]), flush=True)
    else:
        print(f"\n{host.name}: nothing is installed; run deploys/install.py", flush=True)
    if with_report:
        journal.remark(host, reportfile.fetch(host, reportfile.folder("status", host)))


def wanted(option: str) -> bool:
    """Whether ``--data OPTION=true`` was given. Raises DeployError for what is neither true nor false."""
    value = host.data.get(option, False)
    if not isinstance(value, bool):
        raise DeployError(f"--data {option}=... is neither true nor false; nothing was changed on {host.name}")
    return value
