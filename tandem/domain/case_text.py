"""What an answer's text says, whatever its typography: texts and patterns in it, and its language. Pure."""

import re
import unicodedata
from typing import Final

LANGUAGES: Final = ("de", "en", "es", "fr", "ru", "zh")

MOST_CHARACTERS: Final = 100_000
"""A pattern looks at so much of an answer, no more."""
LEAST_SCRIPT_SHARE: Final = 0.6
"""Of an answer's letters, in the script of its language; names and terms may be in another."""
LEAST_STOP_WORD_SHARE: Final = 0.1
LEAST_STOP_WORDS: Final = 2

_PLAIN: Final = str.maketrans(
    {**dict.fromkeys("‐‑‒–—―−", "-"), **dict.fromkeys("‘’‚‛", "'"), **dict.fromkeys("“”„‟«»", '"'), "\u00ad": None}  # noqa: RUF001
)
_MARKUP: Final = re.compile(r"\*\*|`")
_FENCED: Final = re.compile(r"```.*?(```|\Z)", re.DOTALL)
_SPACED_LETTER: Final = r"[^\W_\u2e80-\u9fff\uf900-\ufaff]"  # of a script that parts words by spaces
_WORD: Final = re.compile(r"[^\W\d_]+")
_SCRIPTS: Final = {
    "Latin": re.compile(r"[A-Za-z\u00aa-\u024f\u1e00-\u1eff]"),
    "Cyrillic": re.compile(r"[\u0400-\u04ff]"),
    "Han": re.compile(r"[\u3400-\u9fff\uf900-\ufaff]"),
}
_SCRIPT_OF: Final = {"ru": "Cyrillic", "zh": "Han"}
_NOT_ITS_OWN: Final = {
    "ru": re.compile(r"[іїєґўљњћђџј]", re.IGNORECASE),  # Ukrainian, Belarusian, Serbian, Macedonian
    "zh": re.compile(r"[\u3040-\u30ff\uac00-\ud7af]"),  # Japanese, Korean
}
_STOP_WORDS: Final = {
    "de": "der die das und ist nicht ein eine einen zu den von mit sich auf für im dem es auch als wie wird sind aus "
    "bei oder werden an dass ich sie er wir hat haben kann durch um des einer war",
    "en": "the of and to in is that it for was on are with as be this have not you by at from or an a i they we has "
    "can which their will but when",
    "es": "el la los las de que y en un una es por con para no se del al lo como más su son está pero sus o esta este "
    "muy fue ha hay también",
    "fr": "le la les de des et est un une que pour dans qui pas sur au par avec il elle ce sont plus du ne se en l d "
    "qu n c cette ou aux être nous vous je a",
    # Never asked for, only told apart from the others.
    "it": "il di che è per un una non con sono della del gli le nel si anche più la e lo i ha da dei",
    "nl": "de het een en van is dat niet op te in zijn met voor die aan er ook wordt naar",
    "pt": "o os as de que e do da em um uma para é com não por mais na no se dos ao são",
}
_STOP: Final = {language: frozenset(words.split()) for language, words in _STOP_WORDS.items()}


def plain(text: str) -> str:
    """One line in lower case: with plain hyphens, quotes and blanks, without Markdown's bold and code marks."""
    return " ".join(_MARKUP.sub("", _typography(text)).casefold().split())


def contains(text: str, wanted: str) -> bool:
    """Whether ``wanted`` stands in ``text`` as whole words or numbers: "art" is not in "start", nor 4 in 4.5."""
    needle = plain(wanted)
    before = rf"(?<!{_SPACED_LETTER})" if re.match(_SPACED_LETTER, needle) else ""
    before += r"(?<!\d[.,])" if needle[:1].isdigit() else ""
    after = rf"(?!{_SPACED_LETTER})" if re.match(_SPACED_LETTER, needle[-1:]) else ""
    after += r"(?![.,]\d)" if needle[-1:].isdigit() else ""
    return re.search(before + re.escape(needle) + after, plain(text)) is not None


def matches(text: str, pattern: str) -> bool:
    """Whether ``pattern`` is found, ignoring case; ^ and $ are at each line, blanks at its ends are cut off."""
    lines = (" ".join(line.split()) for line in _typography(text[:MOST_CHARACTERS]).splitlines())
    return re.search(pattern, "\n".join(lines), re.IGNORECASE | re.MULTILINE) is not None


def language_problem(text: str, language: str) -> str | None:
    """Why ``text`` is not in ``language`` (one of LANGUAGES), None when it is. Code in fences does not count.

    By script, then for Latin script by frequent words: the language has more of them than any other that is known
    here, at least LEAST_STOP_WORDS, and they are at least LEAST_STOP_WORD_SHARE of all words.
    """
    prose = unicodedata.normalize("NFC", _FENCED.sub(" ", text))
    letters = sum(character.isalpha() for character in prose)
    if not letters:
        return f"has no words to be in language {language}"
    script = _SCRIPT_OF.get(language, "Latin")
    if len(_SCRIPTS[script].findall(prose)) < LEAST_SCRIPT_SHARE * letters:
        return f"is not in language {language}: most letters are not {script}"
    if language in _NOT_ITS_OWN:
        return (
            f"is not in language {language}: it has letters of another"
            if _NOT_ITS_OWN[language].search(prose)
            else None
        )
    words = _WORD.findall(prose.lower())
    found = {name: sum(word in stop for word in words) for name, stop in _STOP.items()}
    rival = max((name for name in found if name != language), key=lambda name: found[name])
    if found[language] < max(LEAST_STOP_WORDS, LEAST_STOP_WORD_SHARE * len(words)):
        return f"is not in language {language}: too few of its frequent words"
    return f"is not in language {language}: it reads more like {rival}" if found[rival] >= found[language] else None


def _typography(text: str) -> str:
    return unicodedata.normalize("NFKC", text.translate(_PLAIN)).translate(_PLAIN)
