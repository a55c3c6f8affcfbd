"""`qcore plugins`: every plugin found, healthy or not, and why."""

from __future__ import annotations

import dataclasses

from qcore.cli.options import Strict
from qcore.cli.output import Format, OutputFormat, write


def plugins(format: OutputFormat = Format.table, strict: Strict = False) -> int:
    """Show every plugin that was found, what it provides, or why it was left out."""
    from qcore.cli.tables import plugins_table
    from qcore.loading import plugins as loaded

    write(format, plugins_table, [dataclasses.asdict(record) for record in loaded().records])
    return 1 if strict and loaded().failed else 0
