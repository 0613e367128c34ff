"""Events that start flows deployed on Argo Workflows: posted to a webhook of Argo Events."""

from __future__ import annotations

import os
import sys

from metaflow.exception import MetaflowException

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_ADDRESSES = ("MF_EVENTS_URL", "METAFLOW_ARGO_EVENTS_INTERNAL_WEBHOOK_URL", "METAFLOW_ARGO_EVENTS_WEBHOOK_URL")
_TRIES = 5
_TIMEOUT_SECONDS = 60.0


class ArgoEventException(MetaflowException):
    """An event could not be published."""

    headline = "Argo Event Exception"


class ArgoEvent:
    """An event to publish. `name` may be a function that returns the name; the address is the environment's."""

    def __init__(
        self,
        name: str | Callable[[], str],
        url: str | None = None,
        payload: dict[str, Any] | None = None,
        access_token: str | None = None,
    ) -> None:
        given = name() if callable(name) else name
        if not isinstance(given, str):
            raise ArgoEventException(f"the name of an event is a text, not {type(given).__name__}")
        self._name = given
        self._url = url
        self._payload = dict(payload or {})
        self._token = access_token

    def add_to_payload(self, key: str, value: Any) -> ArgoEvent:
        """Add a field, as text; a later one of the same name counts."""
        self._payload[key] = str(value)
        return self

    def safe_publish(self, payload: dict[str, Any] | None = None, ignore_errors: bool = True) -> str | None:
        """Publish where the step runs on Argo Workflows, and do nothing elsewhere."""
        return self.publish(payload=payload, force=False, ignore_errors=ignore_errors)

    def publish(
        self, payload: dict[str, Any] | None = None, force: bool = True, ignore_errors: bool = True
    ) -> str | None:
        """Publish with further fields and return the event's id; None where it was not published."""
        if not force and not os.environ.get("ARGO_WORKFLOW_TEMPLATE"):
            return self._fail(
                f"Argo event {self._name} is not published: this is no run on Argo Workflows; "
                "publish() publishes anyway",
                ignore_errors,
            )
        body = self._body(payload or {})
        try:
            _post(self._address(), self._headers(), body)
        except Exception as error:
            return self._fail(f"Argo event {self._name} could not be published: {error}", ignore_errors)
        print(f"Argo event {self._name} published", file=sys.stderr)
        return str(body["payload"]["id"])

    def _fail(self, message: str, ignore: bool) -> None:
        if not ignore:
            raise ArgoEventException(message)
        print(message, file=sys.stderr)

    def _address(self) -> str:
        url = self._url or next((os.environ[name] for name in _ADDRESSES if os.environ.get(name)), "")
        if not url:
            raise ArgoEventException(f"there is no address to publish to; {_ADDRESSES[0]} names it")
        return url

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if os.environ.get("METAFLOW_ARGO_EVENTS_WEBHOOK_AUTH") == "service":
            import json

            headers.update(json.loads(os.environ.get("METAFLOW_SERVICE_HEADERS") or "{}"))
            key = os.environ.get("METAFLOW_SERVICE_AUTH_KEY")
            if key:
                headers["x-api-key"] = key
        token = self._token or os.environ.get("MF_EVENTS_TOKEN")
        if token:
            headers["Authorization"] = "Bearer " + token
        return headers

    def _body(self, payload: dict[str, Any]) -> dict[str, Any]:
        import time
        import uuid

        now = time.time()
        fields = {
            "name": self._name,
            "id": str(uuid.uuid4()),
            "timestamp": int(now),
            "utc_date": time.strftime("%Y%m%d", time.gmtime(now)),
            "generated-by-metaflow": True,
        }
        return {"name": self._name, "payload": {**fields, **self._payload, **payload}}


def _post(url: str, headers: dict[str, str], body: dict[str, Any]) -> None:
    """Post JSON. What may pass (no connection, an overloaded server) is tried again."""
    import json
    import time
    import urllib.error
    import urllib.request

    request = urllib.request.Request(url, method="POST", headers=headers, data=json.dumps(body).encode())
    for left in reversed(range(_TRIES)):
        try:
            urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS).close()
            return
        except urllib.error.HTTPError as error:
            error.close()
            if left == 0 or error.code not in (408, 429) and error.code < 500:
                raise
        except OSError:
            if left == 0:
                raise
        time.sleep(2 ** (_TRIES - 1 - left) / 2)
