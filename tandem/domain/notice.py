"""What people are told of, and the form of the address that it is posted to. Pure."""

import json
import re
from dataclasses import asdict, dataclass
from typing import Final
from urllib.parse import urlsplit

EVENTS: Final = ("hold", "rollback", "finish", "drift", "failed-backup", "expiring-certificate")
MOST_CHARACTERS: Final = 2000
"""Of a sentence: it goes through a pipe that nobody waits for."""

URL_FORM: Final = "an address like https://HOST/PATH, without a user, of at most 2000 printable ASCII characters"
_URL: Final = re.compile(r"https?://[!-~]{1,1990}")


@dataclass(frozen=True)
class Notice:
    """``release``: which one it is about, "" for none; ``at``: when, in UTC."""

    host: str
    event: str
    sentence: str
    release: str
    at: str


def payload(notice: Notice) -> str:
    """One JSON object. Raises ValueError for an event that there is not."""
    if notice.event not in EVENTS:
        raise ValueError(f"{notice.event!r} is none of {', '.join(EVENTS)}")
    sentence = notice.sentence
    if len(sentence) > MOST_CHARACTERS:
        sentence = sentence[: MOST_CHARACTERS - 3] + "..."
    return json.dumps({**asdict(notice), "sentence": sentence})


def is_url(text: str) -> bool:
    """Whether a notice can be posted there. The text is a secret: no error repeats it."""
    if not _URL.fullmatch(text):
        return False
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        return False
