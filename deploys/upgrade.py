"""The wanted release beside the one that serves, compared, shifted, watched; once begun the host goes on by itself.

`--data follow=true` stays until it is over. `--data move=50|hold|resume|finish` steers it. Back: deploys/rollback.py.
What was undone is not begun again unless `--data again=true` says so.
"""

from tandem.steps import upgrade, webui
from tandem.steps.run import begin

if upgrade.steered():
    upgrade.follow()
else:
    work = upgrade.plan(begin("upgrade", during_rollout=True))  # refuses before anything is touched
    upgrade.bring(work)
    upgrade.stage(work)
    upgrade.start(work)
    webui.upgrade(work.run, engines_first=work.choice != "nothing")
