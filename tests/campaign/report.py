"""What a campaign came to: docs/results/DATE-PART.json and .md, written anew after each case."""

import json
import math
import platform
import statistics
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[2] / "docs/results"
MOST_LINES = 20


@dataclass(frozen=True)
class Case:
    """One case; ``wrong`` says everything that was not as it should be, [] when all was."""

    name: str
    seconds: float
    wrong: list[str]


@dataclass
class Report:
    """The cases of one part so far."""

    part: str
    parameters: str
    cases: list[Case] = field(default_factory=list)
    date: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%d"))

    @property
    def failed(self) -> int:
        return sum(bool(case.wrong) for case in self.cases)

    def add(self, case: Case) -> None:
        """Takes a case, says how it went, and writes both files."""
        self.cases.append(case)
        print(f"{len(self.cases):4} {'FAILED' if case.wrong else 'ok'} {case.seconds:6.1f} s  {case.name}", flush=True)
        for line in case.wrong[:MOST_LINES]:
            print(f"       {line}", flush=True)
        RESULTS.mkdir(parents=True, exist_ok=True)
        name = f"{self.date}-{self.part}"
        (RESULTS / f"{name}.json").write_text(json.dumps([asdict(one) for one in self.cases], indent=1) + "\n")
        (RESULTS / f"{name}.md").write_text(self.text())

    def text(self) -> str:
        """The report in Markdown."""
        good, total = len(self.cases) - self.failed, len(self.cases)
        seconds = [case.seconds for case in self.cases]
        lines = [
            f"# Campaign {self.part}, {self.date}",
            "",
            f"**{good} of {total}** as they should be{_bound(good, total)}; {self.parameters}.",
            f"Per case: median {statistics.median(seconds):.1f} s, longest {max(seconds):.1f} s;"
            f" in all {sum(seconds) / 60:.0f} min on {platform.machine()}.",
            "",
            "| case | seconds | |",
            "| --- | ---: | --- |",
        ]
        rows = [f"| {_cell(case.name)} | {case.seconds:.1f} | {_verdict(case)} |" for case in self.cases]
        return "\n".join([*lines, *rows]) + "\n"


def _bound(good: int, total: int) -> str:
    """The rule of exact zero failures: with n of n, the true share is above 0.05 ** (1/n) with 95 % confidence."""
    return f" (at least {math.floor(1000 * 0.05 ** (1 / total)) / 10} % with 95 % confidence)" if good == total else ""


def _verdict(case: Case) -> str:
    return f"**wrong**: {_cell('; '.join(case.wrong[:3])[:300])}" if case.wrong else "ok"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
