"""A tokenizer in a folder may be anybody's: only one of the parts that ours are made of is given to the library.

Others can hold regular expressions or tables that end the library where it stands (a panic, which no `except Exception`
sees), while it reads them or much later, at a text that was made for it. What the library gets is what was checked,
written anew: the two might not read a name that stands twice alike.
"""

import json
from typing import Any

from smidgen.kit.errors import BadInput
from smidgen.kit.extras import need

MAX_VALUES = 5_000_000  # in the file: a million words and how they are joined
BYTES = {"model": ("BPE",), "normalizer": (None,), "pre_tokenizer": ("ByteLevel",), "decoder": ("ByteLevel",),
         "post_processor": ("TemplateProcessing", "ByteLevel", None)}  # fmt: skip
WORD_PIECES = {"model": ("WordPiece",), "normalizer": ("BertNormalizer",), "pre_tokenizer": ("BertPreTokenizer",),
               "decoder": ("WordPiece",), "post_processor": ("TemplateProcessing", "BertProcessing")}  # fmt: skip

_PROBE = "A word, 2 words: \u00e9\n" + "".join(map(chr, range(33, 127)))


def read_tokenizer(data: bytes, allowed: dict[str, tuple[str | None, ...]], where: str) -> Any:
    """The tokenizer (of the library `tokenizers`) in the bytes of a tokenizer.json, which neither pads nor cuts.

    Args:
        allowed: by part, the kinds that it may have; None: it may be absent.
    Raises:
        BadInput: damaged, or of another kind. MissingExtra: the library is not installed.
    """
    tokenizers = need("tokenizers", extra="text", why="A tokenizer")
    if data.count(b",") + data.count(b"[") + data.count(b"{") > MAX_VALUES:
        raise BadInput(f"{where} holds more than {MAX_VALUES:,} values: it is not a tokenizer of this program.")
    try:
        said = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{where} is not a tokenizer ({str(error)[:100]}): the file is damaged.") from None
    if not isinstance(said, dict):
        raise BadInput(f"{where} is not a tokenizer: the file is damaged.")
    for part, kinds in allowed.items():
        found = said.get(part)
        kind = found.get("type") if isinstance(found, dict) else found
        if kind not in kinds:
            raise BadInput(f"{where} is not a tokenizer of this program: its {part} is of the kind {str(kind)[:40]}.")
    try:
        made = tokenizers.Tokenizer.from_str(json.dumps(said))
        made.encode(_PROBE)  # a template may name a token that is not there
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise BadInput(f"{where} is not a tokenizer ({str(error)[:100]}): the file is damaged.") from None
    made.no_padding()
    made.no_truncation()
    return made
