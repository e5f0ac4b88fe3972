"""Rules for every test: one category a module, bounded property tests."""

import logging
import os

import pytest
import structlog
from hypothesis import HealthCheck, settings

CATEGORIES = {"unit", "property", "sim", "api", "interop", "fault"}

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=100)
settings.register_profile(
    "nightly", deadline=None, max_examples=10_000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test that does not say what kind it is."""
    for item in items:
        kinds = CATEGORIES & {mark.name for mark in item.iter_markers()}
        if len(kinds) != 1:
            raise pytest.UsageError(
                f"{item.nodeid} needs exactly one category marker of {sorted(CATEGORIES)}"
            )


@pytest.fixture(autouse=True)
def _quiet_logs() -> None:
    """Show only errors: a test that looks at log lines captures them itself."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
