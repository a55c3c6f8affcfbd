"""Sizes, for people; what is not known is a dash."""

from __future__ import annotations


def shown_bytes(count: int | None) -> str:
    """Such as `90.9 MB`: thousands, as disks and downloads are counted."""
    if count is None:
        return "-"
    if count < 1000:
        return f"{count} B"
    size = float(count)
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.5:  # three digits show what is more as 1000
            return f"{size:.3g} {unit}"
    return f"{size / 1000:,.2f} TB"


def shown_bits(count: int | None, elements: int) -> str:
    """The bits that an element takes, such as `4.25`, if it all takes so many bytes."""
    return "-" if count is None or not elements else f"{8 * count / elements:.2f}"
