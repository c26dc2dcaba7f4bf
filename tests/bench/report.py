"""What a benchmark found: figures beside goals, and what failed outright."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Report:
    """Prints each figure as it comes; keeps the failures."""

    failures: list[str] = field(default_factory=list)

    def section(self, title: str) -> None:
        print(f"\n{title}", flush=True)

    def row(self, what: str, figure: str, goal: str = "") -> None:
        print(f"  {what:<62} {figure:>30}  {f'goal: {goal}' if goal else ''}".rstrip(), flush=True)

    def failed(self, what: str, wrong: Iterable[str]) -> None:
        """Note what went wrong; nothing when ``wrong`` is empty."""
        troubles = [text for text in wrong if text]
        if troubles:
            self.failures.append(f"{what}: {len(troubles)} times, first: {troubles[0]}")


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
