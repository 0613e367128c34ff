"""The job `init`: parameters, configs and constants."""

from __future__ import annotations

import json
import os
import unittest

from .harness import FlowTest, Worker

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "testdata")

FLOW = """
from metaflow import FlowSpec, IncludeFile, JSONType, Parameter, step

def default(context):
    return "%s/%s/%s" % (context.flow_name, context.parameter_name, context.user_name)

def failing(context):
    raise KeyError("no such setting")

class F(FlowSpec):
    {definitions}

    @step
    def start(self):
        {start}
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    F()
"""


class InitTest(FlowTest):
    def flow(self, *definitions: str, start: str = "pass", **options: str) -> Worker:
        return self.worker(FLOW.format(definitions="\n    ".join(definitions), start=start), **options)

    def test_stores_what_metaflow_stores(self) -> None:
        with open(os.path.join(DATA, "parameters_flow.json"), encoding="utf-8") as file:
            expected = json.load(file)
        with open(os.path.join(DATA, "parameters_flow.py"), encoding="utf-8") as file:
            worker = self.worker(file.read())
        job = {"op": "init", "parameters": expected["given"], "flow": "ParametersFlow", "username": "tester"}
        task = worker.parameters = worker.run_job(job)
        self.assertTrue(task.ok, task.stderr)
        digests = {name: worker.store(blob) for name, blob in task.pickles.items()}
        runtimes = {"_configs_processed", "_foreach_stack", "_success", "_task_ok", "_transition", "name"}
        wanted = {name: digest for name, digest in expected["digests"]["_parameters"].items() if name not in runtimes}
        self.assertEqual(digests, wanted)
        start = worker.step("start", next="end")
        # A private class variable is pickled by every step; parameters and constants go by reference.
        self.assertEqual(list(start.pickles), ["_private"])
        self.assertEqual(start.gets, [])

    def test_the_default_function_gets_a_context(self) -> None:
        worker = self.flow('p = Parameter("p-p", default=default)')
        self.assertEqual(worker.init()["p"], "F/p-p/tester")

    def test_failures_name_the_parameter(self) -> None:
        cases = [
            ('p = Parameter("p", default=3)', {"p": "x"}, "parameter 'p' takes a whole number, not 'x'"),
            ('p = Parameter("p", default=0.5)', {"p": "x"}, "parameter 'p' takes a number, not 'x'"),
            ('p = Parameter("p", default=True)', {"p": "x"}, "parameter 'p' takes true or false, not 'x'"),
            ('p = Parameter("p", type=JSONType)', {"p": "{"}, "parameter 'p' takes JSON, not '{'"),
            ('p = Parameter("p-q", required=True)', {}, "parameter 'p-q' is required"),
            ('p = Parameter("p", default=failing)', {}, "KeyError: 'no such setting'"),
            (
                'p = IncludeFile("p", default="no.txt")',
                {},
                "the file 'no.txt' cannot be read: No such file or directory",
            ),
            (
                'p = IncludeFile("p")',
                {"p": "{1"},
                "parameter 'p' is neither a path nor the descriptor of a stored file",
            ),
            ('p = Parameter("p")', {"q": "1"}, "the flow has no parameter 'q'"),
            ("p = (x for x in [])", {}, "artifact 'self.p' cannot be stored"),
        ]
        for definition, given, message in cases:
            with self.subTest(definition):
                task = self.flow(definition).init(**given)
                self.assertIn(message, task.error["message"])
                self.assertIn(message, task.stderr)
                self.assertEqual(task.done["parameter"], next(iter(given), "p"))
                self.assertEqual(task.exited["code"], 1)
                self.assertNotIn("metaflow/_run", task.stderr)

    def test_include_file(self) -> None:
        definitions = (
            'text = IncludeFile("text", default="words.txt")',
            'raw = IncludeFile("raw", is_text=False)',
            'lines = IncludeFile("lines", default=lambda c: "words.txt", parser=str.splitlines)',
            'nothing = IncludeFile("nothing")',
        )
        worker = self.flow(*definitions, start="print([self.text, self.raw, self.lines, self.nothing])")
        with open(os.path.join(worker.folder, "words.txt"), "wb") as file:
            file.write(b"one\r\ntw\xc3\xb6\n")
        parameters = worker.init(raw=os.path.join(worker.folder, "words.txt"))
        self.assertEqual(parameters.types["text"], "<class 'metaflow.includefile.IncludedFile'>")
        self.assertIn(b"\x8c\x14metaflow.includefile\x94\x8c\x0cIncludedFile\x94", parameters.pickles["text"])
        # The order of the keys is Metaflow's, though the runtime sent another.
        places = [parameters.pickles["text"].index(key) for key in (b"type", b"url", b"is_text", b"encoding", b"note")]
        self.assertEqual(places, sorted(places))
        start = worker.step("start", next="end")
        content = ["one\ntw\u00f6\n", b"one\r\ntw\xc3\xb6\n", ["one", "tw\u00f6"], None]
        self.assertEqual(start.stdout, f"{content}\n")
        self.assertEqual(start.pickles, {})
        definition = 'text = IncludeFile("text", default="words.txt", parser=int)'
        failing = self.flow(definition, start="print(self.text)")
        with open(os.path.join(failing.folder, "words.txt"), "w", encoding="utf-8") as file:
            file.write("x")
        message = "the parser of parameter 'text' failed: ValueError: invalid literal for int()"
        self.assertIn(message, failing.step("start", next="end").stderr)
        worker.files.clear()
        self.assertIn("the file of parameter 'text' could not be read", worker.step("start", next="end").stderr)

    def test_include_file_by_descriptor(self) -> None:
        worker = self.flow('text = IncludeFile("text")', start="print(self.text)")
        worker.files["local:///x"] = b"stored before"
        worker.init(text=json.dumps({"type": "uploader-v2", "url": "local:///x", "is_text": True, "size": 13}))
        self.assertEqual(worker.step("start", next="end").stdout, "stored before\n")

    def test_configs_are_stored_plain_and_seen_as_config_values(self) -> None:
        source = """
        from metaflow import Config, FlowSpec, Parameter, step
        class F(FlowSpec):
            c = Config("c", default_value={"a": {"b": [1]}})
            p = Parameter("p", type=int, default=lambda context: context.configs.c.a.b[0])
            @step
            def start(self):
                print(self.c.a.b, type(self.c).__name__)
                self.next(self.end)
            @step
            def end(self):
                pass
        if __name__ == "__main__":
            F()
        """
        worker = self.worker(source)
        parameters = worker.init()
        self.assertEqual(parameters["c"], {"a": {"b": [1]}})
        self.assertEqual(parameters.types["c"], "<class 'dict'>")
        self.assertEqual(worker.step("start", next="end").stdout, "[1] ConfigValue\n")


if __name__ == "__main__":
    unittest.main()
