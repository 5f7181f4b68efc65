"""Run by `test_no_code.py` in a process of its own: loads folders while the interpreter tells all that is done.

Standard input: good model folders and a good language model (None: none), to have loaded what loading needs; a table;
and the folders to be watched, by kind. Standard output: what was done that should not have been, what took over 2 s,
megabytes that were needed, and how many were refused in a sentence.
"""

import contextlib
import json
import os
import resource
import sys
import time
import warnings

import numpy  # noqa: F401
import pandas
import safetensors  # noqa: F401
import threadpoolctl  # noqa: F401

import smidgen.learn.packed_arrays  # noqa: F401
from smidgen.kit import methods
from smidgen.kit.errors import SmidgenError
from smidgen.learn.model import Model

ROOMS = ("subprocess", "socket", "pickle", "os", "shutil", "ctypes", "marshal", "urllib", "ftplib", "sqlite3")
HARMLESS = ("os.listdir", "os.scandir", "os.walk")
folder, seen = "", []


def hook(event: str, args: tuple) -> None:
    if not folder:
        return
    if event == "open":
        path = os.path.abspath(os.fsdecode(args[0])) if isinstance(args[0], str | bytes) else "a number"  # noqa: PTH100
        if path == "/proc/self/maps":  # how many threads a product may take is looked up among the libraries loaded
            return
        if not path.startswith(folder + "/") or (args[1] or "r") not in ("r", "rb"):
            seen.append((folder, event, path))
    elif event in ("exec", "compile", "import") or (event.split(".")[0] in ROOMS and event not in HARMLESS):
        seen.append((folder, event, str(args)[:80]))


def main() -> None:
    global folder
    warnings.simplefilter("ignore")  # to show one is to read a source file
    methods.names()
    models, language, table, liars = json.load(sys.stdin)
    rows = pandas.read_csv(table)
    loaders = {"model": lambda at: Model.load(at).predict(rows), "encoder": Model.load}
    if language:
        import safetensors.torch  # noqa: F401

        import smidgen.formats.product
        import smidgen.nets.packed
        import smidgen.nets.packed_minilm
        import smidgen.nets.packed_pretrained  # noqa: F401
        from smidgen.lm.model import load

        load(language)
        loaders["language"] = load
    for model in models:
        Model.load(model).predict(rows)
    for kind in loaders:
        with contextlib.suppress(SmidgenError):
            loaders[kind]("/nowhere")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # as is done before the first tokenizer is read
    sys.addaudithook(hook)
    slow, sentences, base = [], dict.fromkeys(liars, 0), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for kind, at in ((kind, at) for kind, places in liars.items() for at in places):
        folder, begun = at, time.process_time()
        try:
            loaders[kind](at)
        except SmidgenError as error:
            sentences[kind] += len(str(error)) > 25
        except BaseException as error:
            seen.append((at, type(error).__name__, str(error)[:200]))
        folder, taken = "", time.process_time() - begun
        if taken > 2:
            slow.append((at, taken))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seen": seen, "slow": slow, "mega": (peak - base) / 1000, "sentences": sentences}))


if __name__ == "__main__":
    main()
