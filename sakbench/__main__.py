"""`python -m sakbench` is the `sakbench` command."""

from sakbench.cli import main

main()
