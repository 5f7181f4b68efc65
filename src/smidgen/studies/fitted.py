"""What `smidgen.fit` returns."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from smidgen.learn.model import Model

if TYPE_CHECKING:
    from smidgen.studies.plan import Plan


@dataclass
class Fitted:
    """The result of a run.

    Attributes:
        model: predicts from new rows; None for a dry run.
        summary: everything that was found, plain data: what the report shows and `--json` prints.
        study: id in the run store. path: the model folder, if it was saved.
        interrupted: whether Ctrl-C ended it before its budget.
    """

    model: Model | None
    summary: dict[str, Any]
    study: str = ""
    path: Path | None = None
    interrupted: bool = False

    @classmethod
    def planned(cls, plan: "Plan") -> "Fitted":
        """A dry run: what would be tried, and what it would need."""
        forecast, entries = plan.forecast()
        entries += [
            {"method": s.method, "view": s.view, "seconds": None, "memory_bytes": None, "tried": False, "note": s.why}
            for s in plan.skipped
        ]
        return cls(None, {**plan.described(), "plan": entries, "seconds": forecast})

    @property
    def leaderboard(self) -> pd.DataFrame:
        """One row a candidate, best first; intervals as two columns. "note": why it ended early or was not tried, and
        what else is to be known of how it was fitted."""
        rows = [
            {
                **r,
                "note": " ".join([r["note"], *r.get("remarks", ())]).strip(),
                "low": (r["interval"] or [None, None])[0],
                "high": (r["interval"] or [None, None])[1],
            }
            for r in self.summary["leaderboard"]
        ]
        names = [
            "method",
            "view",
            "estimate",
            "low",
            "high",
            "weight",
            "chosen",
            "repeats",
            "seconds",
            "params",
            "note",
        ]
        return pd.DataFrame(rows, columns=names)

    @property
    def estimate(self) -> float:
        """The score expected on new rows, corrected for the choice."""
        return self.summary["estimate"]

    @property
    def interval(self) -> tuple[float, float]:
        low, high = self.summary["interval"]
        return low, high

    def predict(self, source: Any):
        """See `Model.predict`."""
        assert self.model is not None
        return self.model.predict(source)

    def predict_proba(self, source: Any):
        """See `Model.predict_proba`."""
        assert self.model is not None
        return self.model.predict_proba(source)

    def __repr__(self) -> str:
        if self.model is None:
            return f"Fitted(dry run: {sum(e['tried'] for e in self.summary['plan'])} candidates)"
        s = self.summary
        low, high = s["interval"]
        found = f"{s['metric']} {s['estimate']:.3f}, {s['level']:.0%} interval {low:.3f} to {high:.3f}"
        return f"Fitted({s['method']}; {found}; n = {s['n']})"
