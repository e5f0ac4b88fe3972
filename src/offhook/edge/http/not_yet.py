"""Paths of Telnyx Call Control that this server knows and does not do yet.

They answer 422 with 10038, so that an app learns which feature it lacks instead of guessing at a
wrong URL. When a feature arrives its line leaves this table.
"""

ACTIONS_NOT_YET = (
    "ai_assistant_add_messages",
    "ai_assistant_join",
    "ai_assistant_start",
    "ai_assistant_stop",
    "conversation_relay_start",
    "conversation_relay_stop",
    "enqueue",
    "gather_using_ai",
    "leave_queue",
    "pay",
    "siprec_start",
    "siprec_stop",
    "suppression_start",
    "suppression_stop",
    "switch_supervisor_role",
)
"""Names below `/calls/{call_control_id}/actions/`, all by POST."""
