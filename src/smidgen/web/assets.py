"""The style sheets, the script and the icon that the report carries and the local page serves, each read once."""

import base64
import hashlib
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
FILES = {  # name: media type, folder
    "style.css": ("text/css", HERE),
    "page.js": ("text/javascript", HERE),
    "ui.css": ("text/css", HERE / "pages"),
    "icon.svg": ("image/svg+xml", HERE / "pages"),
}


@cache
def text(name: str) -> str:
    """One of `FILES`."""
    return (FILES[name][1] / name).read_text(encoding="utf-8")


@cache
def hashed(name: str) -> str:
    """The source of a content security policy that allows this one file, written into the page, and nothing else."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text(name).encode()).digest()).decode()}'"
