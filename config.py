"""pyinfra reads this before anything else: from here on every run that can't begin says why in one sentence."""

from tandem.connection import watch

watch()
