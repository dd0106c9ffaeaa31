"""The job types on board as an API process knows them: by name and payload, never run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from signalstack.core.handler import JobType
from signalstack.core.message import payload_type
from signalstack.handlers.email import SendEmail
from signalstack.handlers.file import ProcessFile
from signalstack.handlers.noop import NOOP
from signalstack.handlers.payment import ProcessPayment
from signalstack.handlers.report import GenerateReport
from signalstack.handlers.webhook import SendWebhook

if TYPE_CHECKING:
    from signalstack.core.handler import Context


async def _run(_payload: Any, _context: Context) -> None:
    """Never run: these tests have no worker."""


_PAYLOADS: Final[dict[str, Any]] = {
    "send_webhook": SendWebhook,
    "send_email": SendEmail,
    "process_payment": ProcessPayment,
    "generate_report": GenerateReport,
    "process_file": ProcessFile,
    "send_message": payload_type(160),
}
ON_BOARD: Final = (
    NOOP,
    *(
        JobType(name=name, payload=payload, run=_run, is_async=True)
        for name, payload in _PAYLOADS.items()
    ),
)
