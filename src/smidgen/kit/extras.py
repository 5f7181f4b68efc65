"""Optional packages: imported where they are used, their absence names the cure; what each extra brings."""

import importlib
import importlib.metadata
import importlib.util
import re
from dataclasses import dataclass
from types import ModuleType

from smidgen.kit.errors import MissingExtra

# what each extra of pyproject.toml brings; which packages that takes is read from the installed package itself
BRINGS = {
    "text": "texts by meaning, networks for photos, language models",
    "tune": "tuning a text encoder on your texts, models of transformers",
    "image": "photos",
    "parquet": "Parquet files",
    "serve": "the local page (smidgen ui)",
    "trees": "the boosted trees of LightGBM and CatBoost",
    "tabfm": "TabPFN, with weights that you have",
    "gguf": "language models as GGUF files",
    "postgres": "a run store in PostgreSQL, for many machines",
    "ray": "trials on a Ray cluster",
    "logs": "training logs for TensorBoard and MLflow",
}
_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)(?:\[([^\]]*)\])?\s*\(?([^;()]*)\)?\s*(?:;\s*(.*))?$")


@dataclass(frozen=True)
class Part:
    """A package that is needed: `version` is the installed one (None: absent), `fits` whether it is within `wanted`."""

    name: str
    wanted: str
    version: str | None

    @property
    def fits(self) -> bool:
        return self.version is not None and within(self.version, self.wanted)


def installed(*modules: str) -> bool:
    """Whether all of these modules could be imported, without importing them."""
    try:
        return all(importlib.util.find_spec(m) is not None for m in modules)
    except (ImportError, ValueError):  # the parent of "a.b" is missing; a module without a spec
        return False


def need(module: str, *, extra: str, why: str) -> ModuleType:
    """The imported module.

    Raises:
        MissingExtra: it is not installed; the message quotes the install line. A package that is there but
            broken raises its own error.
    """
    if not installed(module.split(".")[0]):
        text = f"{why} needs the package '{module.split('.')[0]}': pip install 'smidgen[{extra}]'"
        raise MissingExtra(text, see="extras")
    return importlib.import_module(module)


def parts(extra: str = "", requirements: list[str] | None = None) -> list[Part]:
    """The packages of an extra (of the core: ""), with those that are installed; none is imported.

    Args:
        requirements: lines as in a package's metadata; None: those of the installed smidgen.
    Raises:
        PackageNotFoundError: smidgen runs from its source and is not installed.
    """
    lines = requirements if requirements is not None else importlib.metadata.requires("smidgen") or []
    found: list[Part] = []
    for line in lines:
        match = _REQUIREMENT.match(line.strip())
        marker = re.search(r"""extra\s*==\s*['"]([^'"]+)['"]""", (match and match[4]) or "")
        if match is None or (marker[1] if marker else "") != extra:
            continue
        if match[1] == "smidgen":  # an extra that is made of others
            for other in (match[2] or "").split(","):
                found += parts(other.strip(), lines)
            continue
        try:
            version = importlib.metadata.version(match[1])
        except importlib.metadata.PackageNotFoundError:
            version = None
        found.append(Part(match[1], match[3].replace(" ", ""), version))
    return list(dict.fromkeys(found))


def within(version: str, wanted: str) -> bool:
    """Whether a version is within bounds such as ">=1.9,<1.10"; other signs than >= and < are not judged."""
    have = _numbers(version)
    for bound in filter(None, wanted.split(",")):
        sign, numbers = re.match(r"([<>=!~]*)(.*)", bound).groups()  # type: ignore[union-attr]
        if (sign == ">=" and have < _numbers(numbers)) or (sign == "<" and have >= _numbers(numbers)):
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    """1.10.0rc1 as (1, 10): zeros at the end are dropped, so that 2 and 2.0 are one."""
    found = [int(n) for n in re.findall(r"\d+", re.split(r"[^\d.]", version)[0])]
    while found and found[-1] == 0:
        found.pop()
    return tuple(found)
