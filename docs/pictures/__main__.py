"""Draws every picture anew, beside this file."""

from pathlib import Path

from pictures.catalogue import PICTURES

for name, drawing in PICTURES.items():
    Path(__file__).with_name(name).write_text(drawing(), encoding="utf-8")
