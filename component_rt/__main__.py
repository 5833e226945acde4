"""`python -m component_rt`: the command line, as the script `component-rt`."""

from component_rt.cli import main

main()
