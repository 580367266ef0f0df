"""The command line: one file a verb, each thin: parse, call, print."""

from mindface.cli.main import main

__all__ = ["main"]
