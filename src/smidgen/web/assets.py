"""The style sheet and the script that the report carries and the local page serves."""

import base64
import hashlib
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent


@cache
def text(name: str) -> str:
    """`style.css` or `page.js`."""
    return (HERE / name).read_text(encoding="utf-8")


@cache
def hashed(name: str) -> str:
    """The source of a content security policy that allows this one file, written into the page, and nothing else."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text(name).encode()).digest()).decode()}'"
