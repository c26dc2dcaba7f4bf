"""The verdict where only the new release is left to be asked: its failures alone. Pure."""

from tandem.domain.judge import FAIL, INCONCLUSIVE, PASS, Result, Rules, Verdict
from tandem.domain.paired import Traffic


def judge_alone(new: Traffic, rules: Rules) -> Verdict:
    """By the same sequential test of failures that a window of pairs takes; times have nothing to be compared with."""
    found = f"{new.failures} of {new.requests} requests failed on the new side, the old one is not there to be asked"
    figures = {"new_requests": new.requests, "new_failures": new.failures}
    missing = max(rules.errors.passes_from(new.failures), rules.requests) - new.requests
    if not new.sound:
        outcome, said = INCONCLUSIVE, "errors: requests were not counted properly"
    elif new.requests <= rules.errors.fails_within(new.failures):
        outcome, said = FAIL, f"errors: {found}"
    elif missing > 0:
        outcome, said = INCONCLUSIVE, f"errors: {found}; missing without a failure: {missing}"
    else:
        outcome, said = PASS, f"errors: {found}"
    return Verdict(outcome, (said,), (Result("errors", outcome, said, figures),))
