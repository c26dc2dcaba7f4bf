"""Group data -> ``Config``. No pyinfra import here: ``load`` takes a plain mapping."""

from tandem.config.errors import ConfigError
from tandem.config.load import load
from tandem.config.root import Config

__all__ = ["Config", "ConfigError", "load"]
