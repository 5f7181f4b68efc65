"""One ledger: what may be spent and what was."""
