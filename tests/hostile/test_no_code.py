"""Five hundred folders that lie, of models, of encoders inside models and of language models: none makes the program do
anything but read that folder, each within 2 s, all within 256 MB.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

from hostile_help import small_models
from liars import encoders_that_lie, language_models_that_lie, models_that_lie

TORCH = importlib.util.find_spec("torch") is not None


def language_model(folder: Path) -> Path:
    from smidgen.lm import tokenizer
    from smidgen.lm.model import LanguageModel, save
    from smidgen.nets.decoder import Decoder, DecoderConfig

    words = tokenizer.train(["some words to make a small tokenizer of, and some more words. " * 20], 270)
    config = DecoderConfig(vocab=words.words, hidden=16, layers=2, heads=2, kv_heads=2, ffn=32, max_len=16)
    save(LanguageModel(Decoder(config), words), folder)
    return folder


def test_no_folder_makes_anything_but_itself_read(tmp_path):
    """Watched by the interpreter itself, in a fresh process: nothing made, started, connected, unpickled or opened."""
    (tmp_path / "good").mkdir()
    models = small_models(tmp_path / "good", ("logistic", "forest", "knn", "lda"))
    liars = {"model": models_that_lie(tmp_path, models)}
    if TORCH:
        liars["encoder"] = encoders_that_lie(tmp_path, models[0])
        liars["language"] = language_models_that_lie(tmp_path, language_model(tmp_path / "language"))
    told = [list(map(str, models)), str(tmp_path / "language") if TORCH else None, str(tmp_path / "good" / "small.csv")]
    told.append({kind: list(map(str, places)) for kind, places in liars.items()})  # type: ignore[arg-type]
    done = subprocess.run(
        [sys.executable, "-P", Path(__file__).with_name("watched.py")],
        input=json.dumps(told), capture_output=True, text=True, check=False, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["slow"] == []
    assert not found["seen"], "\n".join(f"{Path(at).name}: {what} {told}" for at, what, told in found["seen"])
    assert found["mega"] < 256
    tried = {kind: len(places) for kind, places in liars.items()}
    assert sum(tried.values()) >= (500 if TORCH else 300), tried
    few = {kind: n for kind, n in found["sentences"].items() if n < 0.7 * tried[kind]}
    assert few == {}, (few, tried)  # the others do no harm: they answer
    assert not Path("/tmp/smidgen-was-here").exists()


def test_the_watch_sees_what_it_is_for(tmp_path):
    """A process that does run something of a folder is found out."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import watched; watched.folder = '/x'; "
    code += "sys.addaudithook(watched.hook); import wave, os; open('/etc/hostname').close(); os.system('true'); "
    code += "exec('1'); watched.folder = ''; print(sorted({event for _, event, _ in watched.seen}))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)], capture_output=True, text=True, check=True
    )
    assert all(event in done.stdout for event in ("compile", "exec", "import", "open", "os.system")), done.stdout
