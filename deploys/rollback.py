"""Back to the old release, at any moment until a rollout has finished: the requests first. `--data why=...` is kept.

Needs no valid configuration. After the finish it says how to bring the old release back.
"""

from tandem.steps import rollback

rollback.undo()
