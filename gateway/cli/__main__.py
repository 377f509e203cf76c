"""`python -m gateway.cli`: the command line without an installed script. Knows nothing else."""

from gateway.cli import main

main()
