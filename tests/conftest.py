"""Shared by all tests: the real data, closed sockets."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no fault of what is tested.
settings.register_profile("smidgen", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("smidgen")
os.environ.setdefault("OMP_NUM_THREADS", "1")
DATA = Path(os.environ.get("SMIDGEN_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets; absent: skip with the reason, and fail under CI."""
    if not (DATA / "MANIFEST.csv").exists():
        why = f"real data is absent: no {DATA}/MANIFEST.csv (set SMIDGEN_DATA)"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    return DATA


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """No test reaches a network: any connection but a local pipe fails."""

    def closed(self, address, *args):
        raise AssertionError(f"a test tried to connect to {address}")

    monkeypatch.setattr(socket.socket, "connect", closed)
