"""`python -m qcore` is the `qcore` program."""

from qcore.cli.main import run

run()
