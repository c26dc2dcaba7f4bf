"""What every configuration model shares."""

import re
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler, StringConstraints
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

T = TypeVar("T")


class Model(BaseModel):
    """Strict (no type coercion), frozen, and closed: an unknown key is an error. Errors never carry the input."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False, validate_default=True
    )


@dataclass(frozen=True)
class Form:
    """The form of a text, with the words that the error report uses: ``'x' is not <noun>; give <give>``."""

    pattern: str
    noun: str
    give: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text, re.ASCII):
            raise PydanticCustomError("form", "is not {noun}; give {give}", {"noun": self.noun, "give": self.give})
        return text


def _tuple_from_list(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _no_parent_folder(path: str) -> str:
    if ".." in path.split("/"):
        raise ValueError(f"{path!r} has a '..' part; give the path without it")
    return path


Items: TypeAlias = Annotated[tuple[T, ...], BeforeValidator(_tuple_from_list)]
"""A list or tuple. Sets are refused: their order changes from run to run, and with it what is rendered."""

Text = Annotated[str, Form(r"[^\x00-\x1f\x7f]*", "one line", "text without line breaks and control characters")]
"""Any text of one line; safe in unit files, where a line break would start another directive."""

Name = Annotated[
    str,
    Form(
        r"[a-z0-9][a-z0-9._-]{0,62}",
        "a short name",
        "1 to 63 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit",
    ),
]
"""A short name that is safe in file names, unit names and shell words."""

ServerName = Annotated[
    str,
    StringConstraints(max_length=253),
    Form(r"[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?|::[A-Za-z0-9:.]*", "a host name or address", "e.g. chat.example"),
]
"""A DNS name, an IPv4 or an IPv6 address, without brackets and port."""

AbsolutePath = Annotated[
    str,
    Form(
        r"/[A-Za-z0-9._/+@:-]*",
        "an absolute path",
        "a path that begins with / and has only A-Z a-z 0-9 . _ / + @ : -",
    ),
    AfterValidator(_no_parent_folder),
]
"""An absolute path on the host without characters that need quoting."""

Sha256 = Annotated[str, Form(r"[0-9a-f]{64}", "a SHA-256", "64 lowercase hexadecimal digits (sha256sum FILE)")]
"""64 lowercase hexadecimal digits."""

PinnedImage = Annotated[
    str,
    Form(
        r"[a-z0-9][a-z0-9._-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)+@sha256:[0-9a-f]{64}",
        "an image pinned by digest",
        "REGISTRY/NAME@sha256: and 64 lowercase hexadecimal digits, without a tag",
    ),
]
"""An image by the digest of its platform manifest: ``registry.example/team/vllm@sha256:<64 hex digits>``."""
