"""`python -m kokeshi` is the command line."""

from kokeshi.cli import main

main()
