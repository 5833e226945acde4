"""`python -m component_rt.cli`."""

from component_rt.cli import main

main()
