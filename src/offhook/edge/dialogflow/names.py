"""Names at Google: endpoints, sessions, conversation profiles, agents."""

import re
from dataclasses import dataclass

from offhook.edge.dialogflow.protocol import Agent, DialogflowNotConfigured

GLOBAL = "global"
_AGENT = re.compile(
    r"projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)/agents/(?P<agent>[^/]+)"
    r"(?:/environments/(?P<environment>[^/]+))?"
)
_LOCATION = re.compile(r"[a-z0-9-]{1,63}")
_SEGMENT = re.compile(r"[^/\s]{1,200}")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the API is: TLS always, but for a server of one's own."""

    host: str
    port: int
    tls: bool = True


def endpoint_of(agent: Agent, configured: str) -> Endpoint:
    """Return where to find the agent: the configured `http(s)://host:port`, or its region's endpoint."""
    if configured:
        scheme, _, rest = configured.rpartition("://")
        host, _, port = rest.rstrip("/").rpartition(":")
        if not port.isdigit() or not host:
            host, port = rest.rstrip("/"), "80" if scheme == "http" else "443"
        return Endpoint(host.strip("[]"), int(port), tls=scheme != "http")
    location = location_of(agent)
    host = "dialogflow.googleapis.com"
    return Endpoint(host if location == GLOBAL else f"{location}-{host}", 443)


def location_of(agent: Agent) -> str:
    """Return the agent's region, which becomes part of a host name and is checked for that."""
    location = agent.location or GLOBAL
    if _LOCATION.fullmatch(location) is None:
        raise DialogflowNotConfigured("the location of the Dialogflow connection is not a region's name")
    return location


def project_of(agent: Agent) -> str:
    """Return the project of the agent's service account."""
    return _segment(agent.service_account.get("project_id"), "the service account's project_id")


def es_session(agent: Agent, session_id: str) -> str:
    """Return the name of a session with the ES agent of the account's project."""
    parent = f"projects/{project_of(agent)}"
    if location_of(agent) != GLOBAL:
        parent += f"/locations/{location_of(agent)}"
    if agent.environment:
        environment = _segment(agent.environment, "the environment of the Dialogflow connection")
        return f"{parent}/agent/environments/{environment}/users/-/sessions/{session_id}"
    return f"{parent}/agent/sessions/{session_id}"


def profile_name(agent: Agent) -> str | None:
    """Return the full name of the connection's conversation profile; None when it names an agent itself."""
    given = agent.conversation_profile_id or ""
    if _AGENT.fullmatch(given) is not None:
        return None
    if given.startswith("projects/"):
        return given
    profile = _segment(given, "the conversation_profile_id of the Dialogflow connection")
    return f"projects/{project_of(agent)}/locations/{location_of(agent)}/conversationProfiles/{profile}"


def cx_session(agent: Agent, agent_name: str, session_id: str) -> str:
    """Return the name of a session with the CX agent that a conversation profile names."""
    found = _AGENT.fullmatch(agent_name)
    if found is None:
        raise DialogflowNotConfigured("the conversation profile names no Dialogflow CX agent")
    environment = agent.environment or found["environment"]
    name = f"projects/{found['project']}/locations/{found['location']}/agents/{found['agent']}"
    if environment and environment != "-":
        environment = _segment(environment, "the environment of the Dialogflow connection")
        name += f"/environments/{environment}"
    return f"{name}/sessions/{session_id}"


def _segment(value: object, what: str) -> str:
    if not isinstance(value, str) or _SEGMENT.fullmatch(value) is None:
        raise DialogflowNotConfigured(f"{what} is missing or malformed")
    return value
