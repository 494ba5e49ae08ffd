"""``python -m privguard``: the command line."""

from privguard.cli import main

main()
