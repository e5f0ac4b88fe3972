"""Names of the API lead to engines (contract 2.2)."""

import pytest

from offhook.edge.speech.engine_map import API_NAMES, EngineMap, EngineRejected

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("name", [*API_NAMES, "A", "B"])
def test_every_name_is_served_by_the_local_engine_by_default(name: str) -> None:
    assert EngineMap().engine_for(name) == "local"


def test_aliases_follow_the_engine_they_stand_for() -> None:
    routes = EngineMap({"Google": "scripted", "B": "cloud"})
    assert routes.engine_for("A") == "scripted"
    assert routes.engine_for("Telnyx") == "cloud"
    assert routes.engine_for("Deepgram") == "local"


def test_a_rejected_engine_is_refused_by_name() -> None:
    with pytest.raises(EngineRejected, match="Azure"):
        EngineMap({"azure": "reject"}).engine_for("Azure")


def test_rejecting_by_default_leaves_what_is_routed() -> None:
    routes = EngineMap({"xAI": "local"}, default="reject")
    assert routes.engine_for("xAI") == "local"
    assert routes.engines() == {"local"}
    with pytest.raises(EngineRejected):
        routes.engine_for("Google")


def test_an_unknown_name_is_refused_without_being_repeated() -> None:
    with pytest.raises(EngineRejected) as caught:
        EngineMap().engine_for("sk-secret")
    assert "secret" not in str(caught.value)


def test_a_wrong_name_in_the_settings_is_named() -> None:
    with pytest.raises(ValueError, match="Gogle"):
        EngineMap({"Gogle": "local"})
