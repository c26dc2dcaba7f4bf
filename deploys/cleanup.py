"""What upgrades left behind and no kept release uses: a list; run it with -y. ``--data remove=true`` removes it.

Never what serves, what a declared release needs, or the way back; ``remove=model,webui`` also models and old chats.
"""

from tandem.steps import cleanup
from tandem.steps.run import configuration

cleanup.offer(configuration("cleanup"))
