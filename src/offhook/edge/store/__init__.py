"""What must outlive the process: one SQLite file in the data directory, with one writer thread.

Keeps webhook deliveries with the log of their attempts, applications and their Dialogflow connections, what is
known of recordings, and small facts about the installation.
Does not know how a webhook is sent, when it is tried again, or what a call is.
"""

from offhook.edge.store.applications import ApplicationRow, ApplicationTable
from offhook.edge.store.deliveries import (
    FORM,
    AttemptRow,
    Deliveries,
    DeliveryRow,
    DeliverySearch,
    DeliveryView,
    Revival,
)
from offhook.edge.store.dialogflow import DialogflowConnections, DialogflowRow
from offhook.edge.store.recordings import (
    FILTER_COLUMNS,
    RecordingFilter,
    RecordingRow,
    RecordingState,
    RecordingTable,
)
from offhook.edge.store.store import Store, StoreError

__all__ = [
    "FORM",
    "ApplicationRow",
    "ApplicationTable",
    "AttemptRow",
    "Deliveries",
    "DeliveryRow",
    "DeliverySearch",
    "DeliveryView",
    "DialogflowConnections",
    "DialogflowRow",
    "FILTER_COLUMNS",
    "RecordingFilter",
    "RecordingRow",
    "RecordingState",
    "RecordingTable",
    "Revival",
    "Store",
    "StoreError",
]
