from typing import Annotated

from pydantic import Field, StringConstraints

from tandem.config.base import Form, Items, Model, PinnedImage, Text
from tandem.domain.prompts import Prompt


class LibraryPrompt(Model):
    """One prompt of the library, as its file has it."""

    command: str = Field(description="What people type after /.")
    title: str = Field(description="What the list shows.")
    tag: str = Field(description="The label that it is listed under.")
    content: str = Field(description="The text.")


class WebuiConfig(Model):
    """Open WebUI."""

    image: PinnedImage = Field(description="The Open WebUI image by platform manifest digest.")
    name: Annotated[Text, StringConstraints(min_length=1, max_length=60)] = Field(
        default="Tandem", description="The name shown in the page."
    )
    admin_email: Annotated[
        str, Form(r"[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+", "an e-mail address", "NAME@DOMAIN, e.g. admin@chat.example")
    ] = Field(description="The first administrator, made by install.")
    admin_name: Annotated[Text, StringConstraints(min_length=1, max_length=60)] = Field(
        default="Administrator", description="The first administrator's displayed name."
    )
    ready_timeout_seconds: int = Field(
        default=300, ge=10, description="A WebUI that is silent for so long at its first start is restarted once."
    )
    prompts: Items[LibraryPrompt] = Field(
        default=(), description="Folder on this machine with prompts (*.md) that everybody is offered; None: none."
    )

    @property
    def library(self) -> list[Prompt]:
        """By command."""
        return sorted((Prompt(**one.model_dump()) for one in self.prompts), key=lambda prompt: prompt.command)
