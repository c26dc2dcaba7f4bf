"""Removes what stock.py made."""

from pyinfra.operations import files

from tandem import journal

journal.start("stock-removed")
files.directory(path="/var/tmp/tandem-bench", present=False)
