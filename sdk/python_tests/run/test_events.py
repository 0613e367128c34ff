"""Events: `current.trigger` in a step, and publishing with ArgoEvent."""

from __future__ import annotations

import http.server
import json
import threading
import unittest
from typing import Any

from .harness import FlowTest, Task

FLOW = """
from metaflow import FlowSpec, current, step
class F(FlowSpec):
    @step
    def start(self):
        {body}
        self.next(self.end)
    @step
    def end(self):
        pass
if __name__ == "__main__":
    F()
"""


class Webhook:
    """A server that answers with the codes given, and keeps what was posted."""

    def __init__(self, *codes: int) -> None:
        self.posted: list[tuple[dict[str, str], Any]] = []
        answers = list(codes)
        posted = self.posted

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                posted.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(answers.pop(0) if answers else 200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class EventsTest(FlowTest):
    def start(self, body: str, **env: str) -> Task:
        worker = self.worker(FLOW.format(body=body.replace("\n", "\n        ")), env=env)
        return worker.step("start", next="end")

    def webhook(self, *codes: int) -> Webhook:
        server = Webhook(*codes)
        self.addCleanup(server.close)
        return server

    def test_trigger(self) -> None:
        payload = {"name": "data_ready", "id": "7", "timestamp": 1700000000, "rows": 3}
        task = self.start(
            "t = current.trigger\nprint(t.event.name, t.event.id, t.event.timestamp.year, t.event.type, len(t.events))\n"
            "print('data_ready' in t, 'other' in t, t.run, t['data_ready'].id, [e.name for e in t])",
            METAFLOW_ARGO_EVENT_PAYLOAD_event_dataready_abcd=json.dumps(payload),
            METAFLOW_ARGO_EVENT_PAYLOAD_event_other_abcd="null",
        )
        self.assertTrue(task.ok, task.stderr)
        self.assertEqual(task.stdout, "data_ready 7 2023 event 1\nTrue False None 7 ['data_ready']\n")

    def test_timestamps_of_others(self) -> None:
        times = {"a": "2026-11-23", "b": 1700000000000, "c": 1700000000, "d": None, "e": 1.5, "f": [1]}
        task = self.start(
            "print([(e.name, e.timestamp if e.name != 'c' else e.timestamp.year) for e in current.trigger.events])",
            **{
                f"METAFLOW_ARGO_EVENT_PAYLOAD_event_{name}_abcd": json.dumps({"name": name, "timestamp": time})
                for name, time in times.items()
            },
        )
        self.assertTrue(task.ok, task.stderr)
        self.assertEqual(
            task.stdout,
            "[('b', 1700000000000), ('c', 2023), ('e', 1.5), ('a', '2026-11-23'), ('d', None), ('f', [1])]\n",
        )

    def test_no_trigger(self) -> None:
        task = self.start("print(current.get('trigger'), 'trigger' in current)\ncurrent.trigger")
        self.assertEqual(task.stdout, "None False\n")
        self.assertIn("the run was not started by an event", task.error["message"])

    def test_publish(self) -> None:
        server = self.webhook(503, 200)
        task = self.start(
            "from metaflow.integrations import ArgoEvent\n"
            "e = ArgoEvent('ready', payload={'a': 1}).add_to_payload('rows', 3)\nprint(e.publish({'b': [2]}))",
            MF_EVENTS_URL=server.url,
            MF_EVENTS_TOKEN="hush",
        )
        self.assertTrue(task.ok, task.stderr)
        self.assertEqual(len(server.posted), 2, "an answer of 503 is tried again")
        headers, body = server.posted[1]
        self.assertEqual(headers["authorization"], "Bearer hush")
        self.assertEqual(body["name"], "ready")
        payload = body["payload"]
        self.assertEqual((payload["name"], payload["a"], payload["b"], payload["rows"]), ("ready", 1, [2], "3"))
        self.assertEqual(task.stdout, payload["id"] + "\n")
        self.assertTrue(payload["generated-by-metaflow"])
        self.assertNotIn("hush", task.stderr)

    def test_the_headers_of_the_service(self) -> None:
        server = self.webhook()
        self.start(
            "from metaflow.plugins.argo.argo_events import ArgoEvent\nArgoEvent(lambda: 'n').safe_publish()",
            METAFLOW_ARGO_EVENTS_WEBHOOK_URL=server.url,
            METAFLOW_ARGO_EVENTS_WEBHOOK_AUTH="service",
            METAFLOW_SERVICE_AUTH_KEY="key",
            METAFLOW_SERVICE_HEADERS='{"x-team": "a"}',
            ARGO_WORKFLOW_TEMPLATE="f",
        )
        headers, _ = server.posted[0]
        self.assertEqual((headers["x-api-key"], headers["x-team"]), ("key", "a"))

    def test_nothing_happens_elsewhere(self) -> None:
        server = self.webhook()
        publish = "from metaflow.integrations import ArgoEvent\nprint(ArgoEvent('n').safe_publish())"
        task = self.start(publish, MF_EVENTS_URL=server.url)
        self.assertEqual((task.stdout, server.posted), ("None\n", []))
        self.assertIn("is not published", task.stderr)

    def test_failures(self) -> None:
        server = self.webhook(403)
        task = self.start(
            "from metaflow.integrations import ArgoEvent\nprint(ArgoEvent('n').publish())\n"
            "ArgoEvent('n', url='').publish(ignore_errors=False)",
            MF_EVENTS_URL=server.url,
        )
        self.assertEqual(len(server.posted), 2, "403 is final; the empty address is the environment's")
        self.assertEqual(task.stdout, "None\n")
        self.assertTrue(task.ok)
        refused = self.start(
            "from metaflow.integrations import ArgoEvent\nArgoEvent('n').publish(ignore_errors=False)"
        )
        self.assertIn("MF_EVENTS_URL", refused.error["message"])
        self.assertEqual(refused.error["type"], "metaflow.plugins.argo.argo_events.ArgoEventException")


if __name__ == "__main__":
    unittest.main()
