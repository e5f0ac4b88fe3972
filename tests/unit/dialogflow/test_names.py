"""What things are called at Google, and where they are."""

import pytest

from offhook.edge.dialogflow import names
from offhook.edge.dialogflow.names import Endpoint
from offhook.edge.dialogflow.protocol import Agent, DialogflowNotConfigured

pytestmark = pytest.mark.unit

ACCOUNT = {"project_id": "p"}
CX = "projects/p/locations/eu/agents/a"


def agent(**fields: object) -> Agent:
    return Agent(**({"service_account": ACCOUNT} | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("location", "configured", "endpoint"),
    [
        (None, "", Endpoint("dialogflow.googleapis.com", 443)),
        ("global", "", Endpoint("dialogflow.googleapis.com", 443)),
        ("europe-west3", "", Endpoint("europe-west3-dialogflow.googleapis.com", 443)),
        ("europe-west3", "https://df.example", Endpoint("df.example", 443)),
        (None, "https://df.example:8443/", Endpoint("df.example", 8443)),
        (None, "http://127.0.0.1:9", Endpoint("127.0.0.1", 9, tls=False)),
        (None, "http://df.example", Endpoint("df.example", 80, tls=False)),
        (None, "http://[::1]:9", Endpoint("::1", 9, tls=False)),
    ],
)
def test_an_agent_is_found_at_its_region_or_where_the_settings_say(
    location: str | None, configured: str, endpoint: Endpoint
) -> None:
    assert names.endpoint_of(agent(location=location), configured) == endpoint


def test_a_location_cannot_lead_to_another_host() -> None:
    with pytest.raises(DialogflowNotConfigured):
        names.endpoint_of(agent(location="evil.example/x"), "")


def test_an_es_session_is_of_the_accounts_project() -> None:
    assert names.es_session(agent(), "s") == "projects/p/agent/sessions/s"
    assert names.es_session(agent(location="eu"), "s") == "projects/p/locations/eu/agent/sessions/s"
    assert (
        names.es_session(agent(environment="live"), "s")
        == "projects/p/agent/environments/live/users/-/sessions/s"
    )


@pytest.mark.parametrize(
    ("given", "environment", "session"),
    [
        (CX, None, f"{CX}/sessions/s"),
        (f"{CX}/environments/-", None, f"{CX}/sessions/s"),
        (f"{CX}/environments/draft", None, f"{CX}/environments/draft/sessions/s"),
        (f"{CX}/environments/draft", "live", f"{CX}/environments/live/sessions/s"),
    ],
)
def test_a_cx_session_is_of_the_profiles_agent(given: str, environment: str | None, session: str) -> None:
    assert names.cx_session(agent(environment=environment), given, "s") == session


def test_a_profile_is_named_short_or_in_full_or_is_an_agent_itself() -> None:
    whole = "projects/q/locations/eu/conversationProfiles/x"
    assert (
        names.profile_name(agent(conversation_profile_id="x", location="eu"))
        == "projects/p/locations/eu/conversationProfiles/x"
    )
    assert names.profile_name(agent(conversation_profile_id=whole)) == whole
    assert names.profile_name(agent(conversation_profile_id=CX)) is None


def test_what_names_nothing_is_told_as_not_configured() -> None:
    with pytest.raises(DialogflowNotConfigured, match="project_id"):
        names.es_session(Agent(service_account={}), "s")
    with pytest.raises(DialogflowNotConfigured, match="profile"):
        names.cx_session(agent(), "projects/p/locations/eu/agent", "s")
    with pytest.raises(DialogflowNotConfigured, match="conversation_profile_id"):
        names.profile_name(agent())
