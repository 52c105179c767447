"""Calls of a composer's interface: retries, timeouts, and errors in one line.

Every call may be repeated without harm, so every call is, if the network or a busy server fails it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urljoin

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import MaxRetryError
from urllib3.util import Retry

from aihwjax.cloud.settings import CloudSettings
from aihwjax.errors import ApiResponseError, CredentialsError, InvalidResponseFieldError, ResponseError
from aihwjax.version import __version__

if TYPE_CHECKING:
    from urllib3.connectionpool import ConnectionPool
    from urllib3.response import BaseHTTPResponse

_PREFIX = "api/v1/"
_AGAIN = (429, 502, 503, 504)
_CONNECT_SECONDS = 10.0
_READ_SECONDS = 60.0
_LONG_SECONDS = 600.0
_LONGEST_PAUSE = 10.0
_PIECE = 1 << 20


class Session:
    """A connection to a composer."""

    def __init__(self, settings: CloudSettings, retries: int = 4) -> None:
        """Prepare; nothing is sent yet.

        Args:
            settings: Address and token.
            retries: How often a call is repeated.
        """
        self.url = settings.url
        self._api = _session(_Bearer(settings.token), retries)
        self._files = _session(_Nobody(), retries)  # signed links need no token, and must not get it

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """Return the answer of a GET call.

        Args:
            path: Below ``/api/v1/``.
            **params: Of the query; ``None`` is left out.

        Raises:
            CredentialsError: If the token is not accepted.
            ApiResponseError: If the call is refused.
            ResponseError: If there is no answer.
        """
        given = {name: value for name, value in params.items() if value is not None}
        return self._call("GET", path, params=given)

    def post(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the answer of a POST call; errors as :meth:`get`.

        Args:
            path: Below ``/api/v1/``.
            body: JSON values.
        """
        return self._call("POST", path, json=body, timeout=_LONG_SECONDS)

    def upload(self, url: str, path: Path) -> None:
        """Send a file to a signed link.

        Args:
            url: The link.
            path: The file.

        Raises:
            ApiResponseError: If it is refused.
            ResponseError: If there is no answer.
        """
        with path.open("rb") as file:
            _refuse(self._send(self._files, "PUT", urljoin(self.url, url), data=file, timeout=_LONG_SECONDS))

    def download(self, url: str, path: Path, sha256: str, size: int) -> None:
        """Write what is behind a signed link into a file.

        Args:
            url: The link.
            path: The file.
            sha256: What its hash must be.
            size: How many bytes it must have.

        Raises:
            ApiResponseError: If it is refused.
            ResponseError: If there is no answer, or it is cut off or damaged.
        """
        response = self._send(self._files, "GET", urljoin(self.url, url), stream=True)
        with response:
            _refuse(response)
            found, count = hashlib.sha256(), 0
            try:
                with path.open("wb") as file:
                    for piece in response.iter_content(_PIECE):
                        count += len(piece)
                        if count > size:
                            break
                        found.update(piece)
                        file.write(piece)
            except requests.RequestException as error:
                raise ResponseError(f"the download from {self.url} was cut off: {_reason(error)}", response) from None
        if count != size or found.hexdigest() != sha256:
            raise ResponseError(f"the download from {self.url} is damaged: it has {count} of {size} bytes", response)

    def _call(self, method: str, path: str, timeout: float = _READ_SECONDS, **kwargs: Any) -> dict[str, Any]:
        response = self._send(self._api, method, urljoin(self.url, _PREFIX + path), timeout=timeout, **kwargs)
        if response.status_code == requests.codes.unauthorized:
            raise CredentialsError(f"the composer at {self.url} does not accept the API token: {_message(response)}")
        _refuse(response)
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise InvalidResponseFieldError(f"the answer of {self.url} to {method} {path} is no JSON object")
        return answer

    def _send(
        self, session: requests.Session, method: str, url: str, timeout: float = _READ_SECONDS, **kwargs: Any
    ) -> requests.Response:
        try:
            return session.request(method, url, timeout=(_CONNECT_SECONDS, timeout), **kwargs)
        except requests.RequestException as error:
            raise ResponseError(f"cannot reach the composer at {self.url}: {_reason(error)}") from None


class _Bearer(requests.auth.AuthBase):
    """The token; given this way, requests does not look into ~/.netrc for another."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class _Nobody(requests.auth.AuthBase):
    """No token, and none of ~/.netrc either."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class _Retry(Retry):
    """Waits as long as a busy server asks; if that is long, its answer is the user's to know at once."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        asked = None if response is None else self.get_retry_after(response)
        if asked is not None and asked > _LONGEST_PAUSE and _pool is not None:
            raise MaxRetryError(_pool, str(url))
        return super().increment(method, url, response, error, _pool, _stacktrace)


def _session(auth: requests.auth.AuthBase, retries: int) -> requests.Session:
    session = requests.Session()
    session.auth = auth
    session.headers["User-Agent"] = f"aihwjax/{__version__}"
    retry = _Retry(
        total=retries,
        backoff_factor=0.25,
        backoff_max=_LONGEST_PAUSE,
        status_forcelist=_AGAIN,
        allowed_methods=None,
        raise_on_status=False,
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def _refuse(response: requests.Response) -> None:
    if not response.ok:
        raise ApiResponseError(f"the composer refused ({response.status_code}): {_message(response)}", response)


def _message(response: requests.Response) -> str:
    """Return the server's reason in one line."""
    try:
        error = response.json()["error"]
        text, field = str(error["message"]), error.get("field")
    except (ValueError, LookupError, TypeError, AttributeError):
        text, field = response.reason or "no reason was given", None
    text = " ".join(text.split())[:500]
    seconds = response.headers.get("Retry-After", "")
    if seconds.isdecimal() and int(seconds) > _LONGEST_PAUSE:
        text += f" (try again in {int(seconds)} s)"
    return text if not field or str(field) in text else f"{field}: {text}"


def _reason(error: requests.RequestException) -> str:
    """Return why there was no answer, without addresses of objects and without links."""
    if isinstance(error, requests.Timeout):
        return "it does not answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not valid"
    inner: Any = error.args[0] if error.args else error
    inner = getattr(inner, "reason", inner)
    text = " ".join(str(inner).split()).rpartition(": ")[2]
    return text[:200] or type(error).__name__
