"""`smidgen compress`: calls the library, shows what the model became."""

from typing import Any

from smidgen.cli.output import say, say_json, stdout_kept, table, tell
from smidgen.cli.progress import progress
from smidgen.web import words

HEADS = ("model", "bytes", "bits_per_weight", "loss_before", "loss_after", "unit", "layers", "seconds")


def compress(model: str, *, as_json: bool, **options: Any) -> int:
    """See `smidgen.compress`."""
    import smidgen

    try:
        with stdout_kept(), progress() as told:

            def tell_progress(text: str, share: float) -> None:
                told({"kind": "round", "text": f"{text[:1].upper()}{text[1:]}", "done": int(100 * share), "total": 100})

            found = smidgen.compress(model, progress=tell_progress, **options)
    except KeyboardInterrupt:
        from smidgen.compress.work_folder import beside
        from smidgen.studies.compressing import place_of

        kept = beside(place_of(model, options.get("out")))
        if not kept.is_dir():
            raise
        tell(f"Stopped. What was worked out is kept in {kept}: the same command goes on from it.")
        return 130
    if as_json:
        first = {k: found[k] for k in HEADS if k in found}
        say_json({**first, **{k: v for k, v in found.items() if k not in first}})
    elif found.get("dry_run"):
        say("\n".join(planned(found)))
    else:
        say("\n".join(shown(found)))
    return 0


def planned(found: dict[str, Any]) -> list[str]:
    """Lines of a dry run."""
    lines = [
        f"{words.size(found['bytes_before'])} now, {words.plural(found['numbers'], 'number')} in quantizable layers"
    ]
    lines += [f"   {u['name']:26s} {words.size(u['bytes'])}" for u in found["uniform"]]
    lines.append(f"The smallest reachable is {words.size(found['smallest'])}.")
    if "would_be" in found:
        lines.append(
            f"Within the limit: a mix of {words.size(found['would_be'])}, {found['bits_per_weight']:.2f} bits a weight."
        )
    return [*lines, "Nothing was rounded or written."]


def shown(found: dict[str, Any]) -> list[str]:
    """Lines: what it was and is, what was lost, what was tried."""
    lines = [
        f"{words.size(found['bytes_before'])} became {words.size(found['bytes'])} "
        f"({found['bits_per_weight']:.2f} bits a weight)",
        "what it loses was not measured"
        if found["loss_after"] is None
        else f"loss {words.number(found['loss_before'])} became {words.number(found['loss_after'])} {found['unit']}, "
        "on data that nothing was chosen by",
        "",
    ]
    rows = [[t["name"], words.size(t["bytes"]), words.number(t["loss"])] for t in found["tried"]]
    lines += table(rows, ["tried", "size", "distance"], right=(1, 2))
    if found["kept"]:
        lines.append(f"kept as they are: {', '.join(words.clean(k) for k in found['kept'][:8])}")
    lines += [f"Note: {words.clean(note, 400)}" for note in found["notes"]]
    lines += ["", f"model    {words.clean(found['model'], 1000)}"]
    if found.get("report"):
        lines.append(f"report   {words.clean(found['report'], 1000)}")
    return lines
