"""The connection to Grafana: makes calls and turns each failure into one line that says what to do.

It never prints a token, a password or an answer's body.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from siphonwatch.streams.common.settings import Grafana as GrafanaSettings
from siphonwatch.streams.common.settings import SettingsError

if TYPE_CHECKING:
    from grafana_client.api import GrafanaApi

T = TypeVar("T")
LONGEST_REASON = 200
"""Characters of Grafana's own explanation that a message repeats: enough for a sentence, too little for a page."""

REMEDIES = {
    400: "it takes another form of this object than Grafana 10.4 and later do, or does not allow the change",
    401: "the token or password is wrong or has expired: set grafana.token to one of a service account",
    403: "give the service account the right to edit it (role Admin has all that is needed)",
    404: "it was removed meanwhile, or grafana.url is not Grafana's own address; run it again",
    409: "somebody else changed it, or one of that name exists; look at --plan and run it again",
    412: "somebody else changed it meanwhile; look at --plan and run it again",
    429: "it asks for patience; run it again later",
}


def plain(text: str) -> str:
    """Return text on one line and without control characters: what people wrote in Grafana is no order to a terminal.

    Examples
    --------
    >>> plain("a\\n b\\x1b[2J")
    'a b?[2J'
    """
    return "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))


class GrafanaError(Exception):
    """A call failed; the message is one line, names the call and the remedy, and holds no secret.

    Parameters
    ----------
    message
        What to tell.
    status
        HTTP status of the answer; 0 when there was none or it was no JSON.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status

    @property
    def passing(self) -> bool:
        """Whether the same call may well succeed later without anybody's doing."""
        return self.status in (0, 429) or self.status >= 500


class Connection:
    """A Grafana that was configured; nothing is sent until the first call.

    Parameters
    ----------
    api
        The client whose methods are called.
    settings
        For messages: where it is, and how long a call may take.
    """

    def __init__(self, api: GrafanaApi, settings: GrafanaSettings) -> None:
        self.api: Any = api
        self._url = shown(settings.url)
        self._timeout = settings.timeout

    def close(self) -> None:
        """Close the sockets."""
        self.api.client.s.close()

    def call(self, doing: str, form: type[T], method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> T:
        """Call one of the client's methods.

        Parameters
        ----------
        doing
            What the call is for, as messages tell it: `read the folder siphonwatch`.
        form
            `dict`, `list` or `object` (also nothing): what the answer has to be. A page of text never is.

        Raises
        ------
        GrafanaError
            For every failure.
        """
        from grafana_client.client import GrafanaException, GrafanaTimeoutError
        from niquests.exceptions import JSONDecodeError, RequestException, SSLError, Timeout

        failed = f"Grafana at {self._url}: cannot {doing}: "
        try:
            answer = method(*args, **kwargs)
        except (GrafanaTimeoutError, Timeout):
            raise GrafanaError(
                f"{failed}no answer within {self._timeout:g} s; run it again, or raise grafana.timeout"
            ) from None
        except GrafanaException as error:
            raise GrafanaError(failed + _explain(error.status_code, error.response), error.status_code) from None
        except JSONDecodeError:
            raise GrafanaError(failed + NO_JSON) from None
        except SSLError:
            raise GrafanaError(
                f"{failed}its certificate cannot be verified; trust its authority on this machine"
                " (SSL_CERT_FILE, REQUESTS_CA_BUNDLE), or set grafana.verify to false"
            ) from None
        except RequestException as error:
            raise GrafanaError(
                f"{failed}no connection ({type(error).__name__}); is it running, and grafana.url right?"
            ) from None
        if not isinstance(answer, form) or (isinstance(answer, str) and answer.strip()):
            raise GrafanaError(failed + NO_JSON)
        return answer

    def find(self, doing: str, form: type[T], method: Callable[..., Any], /, *args: Any) -> T | None:
        """Call as `call` does, but return None where Grafana has no such object.

        Raises
        ------
        GrafanaError
            For every failure but 404.
        """
        try:
            return self.call(doing, form, method, *args)
        except GrafanaError as error:
            if error.status == 404:
                return None
            raise


NO_JSON = "the answer is not Grafana's (no JSON of the expected form); is grafana.url Grafana itself, not a login page?"


def connect(settings: GrafanaSettings) -> Connection:
    """Return a connection as settings say; nothing is sent yet.

    Raises
    ------
    SettingsError
        When there is no address, or nothing to log in with.
    """
    from grafana_client.api import GrafanaApi

    try:
        parts = urlsplit(settings.url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise SettingsError(
            f"grafana.url is {shown(settings.url)!r}: set it to Grafana's address, such as https://grafana.example:3000"
        )
    if not settings.token and not (settings.username and settings.password):
        raise SettingsError("nothing to log in to Grafana with: set grafana.token, or grafana.username and _password")
    if not settings.verify:
        from urllib3.exceptions import InsecureRequestWarning

        warnings.filterwarnings("ignore", category=InsecureRequestWarning)  # it was asked for
    path = parts.path.strip("/")
    api = GrafanaApi(
        settings.token or (settings.username, settings.password),
        protocol=parts.scheme,
        host=f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname,
        port=port,
        url_path_prefix=f"{path}/" if path else "",
        verify=settings.verify,
        timeout=settings.timeout,
        user_agent="siphonwatch",
    )
    return Connection(api, settings)


def shown(url: str) -> str:
    """An address without what may be secret in it."""
    head, at, tail = url.rpartition("@")
    scheme = head.partition("://")[0] + "://" if at else ""
    return (scheme + tail).partition("?")[0].rstrip("/")


def _explain(status: int, answer: Any) -> str:
    reason = answer.get("message", "") if isinstance(answer, dict) else ""
    reason = plain(str(reason))[:LONGEST_REASON]
    if status >= 500:
        remedy = "it failed on its side: see its log, then run it again"
    else:
        remedy = REMEDIES.get(status, "unexpected; see its log")
    return f"{status}{f' ({reason})' if reason else ''}; {remedy}"
