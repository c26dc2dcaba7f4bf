"""The WebUI's part of an upgrade alone."""

from tandem.steps import webui
from tandem.steps.run import begin

webui.upgrade(begin("upgrade", during_rollout=True), False)
