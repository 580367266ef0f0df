"""`python -m mindface` is `mindface`."""

from mindface.cli import main

main()
