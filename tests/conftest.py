"""Eight virtual CPU devices and a cache folder of the tests' own, set before jax starts."""

import os
import tempfile
from pathlib import Path

os.environ["JAX_PLATFORMS"] = os.environ.get("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ.setdefault("JAXCNN_CACHE", str(Path(tempfile.gettempdir()) / "jaxcnn-test-cache"))
os.environ["MPLBACKEND"] = "Agg"

import jax
import pytest

jax.config.update("jax_compilation_cache_dir", str(Path(os.environ["JAXCNN_CACHE"]) / "xla"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@pytest.fixture(scope="module")
def compile_quickly():
    """For networks that are compiled once and run for seconds: compiling is what takes the time."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def pytest_terminal_summary(terminalreporter):
    """Says whether pages were opened in a browser: without one those tests are skipped."""
    outcomes = {
        outcome: [
            report
            for report in terminalreporter.stats.get(outcome, [])
            if "_in_a_browser" in getattr(report, "nodeid", "")
        ]
        for outcome in ("passed", "failed", "error", "skipped")
    }
    if not any(outcomes.values()):
        return
    counts = ", ".join(f"{len(of)} {outcome}" for outcome, of in outcomes.items() if of)
    why = {report.longrepr[2] for report in outcomes["skipped"]}
    terminalreporter.write_line(f"Browser: tests in one: {'; '.join([counts, *sorted(why)])}.")
