"""Access tokens of a service account, made and signed here: nobody is asked for them.

Google takes a JWT that the account's own key has signed (https://google.aip.dev/auth/4111), so the
`token_uri` of the account, which an API caller could point anywhere, is never contacted.
"""

from typing import Any

from offhook.edge.dialogflow.protocol import DialogflowNotConfigured

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/dialogflow")


class AccountToken:
    """The account's `authorization` header, renewed before it expires.

    Raises:
        DialogflowNotConfigured: the account has no usable key.
    """

    def __init__(self, service_account: dict[str, Any]) -> None:
        from google.auth.exceptions import GoogleAuthError
        from google.oauth2.service_account import Credentials

        # The address only has to be there; see above.
        info = {"token_uri": "https://oauth2.googleapis.com/token"} | service_account
        try:
            made = Credentials.from_service_account_info(info, scopes=_SCOPES)
        except (GoogleAuthError, ValueError, TypeError, AttributeError):
            # The error's own text may quote the key.
            raise DialogflowNotConfigured(
                "the service account of the Dialogflow connection has no usable client_email and private_key"
            ) from None
        self._credentials = made.with_always_use_jwt_access(True)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata of one RPC."""
        if not self._credentials.valid:
            self._credentials.refresh(None)
        return (("authorization", f"Bearer {self._credentials.token}"),)
