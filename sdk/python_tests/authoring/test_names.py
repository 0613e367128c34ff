import subprocess
import sys
import unittest

import metaflow
from metaflow.exception import MetaflowException


def python(code, *options):
    """Run code in a fresh interpreter; return what it printed."""
    done = subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


class Names(unittest.TestCase):
    def test_every_name_can_be_imported(self):
        for name in metaflow.__all__:
            with self.subTest(name):
                self.assertIsNotNone(getattr(metaflow, name))

    def test_star_import(self):
        namespace = {}
        exec("from metaflow import *", namespace)
        self.assertLessEqual(set(metaflow.__all__), set(namespace))

    def test_name_that_mf_does_not_have_yet(self):
        for name in ("S3", "Runner", "cards", "parallel_map", "Deployer"):
            with self.subTest(name), self.assertRaisesRegex(ImportError, f"metaflow.{name} exists in Metaflow"):
                exec(f"from metaflow import {name}", {})

    def test_module_that_mf_does_not_have_yet(self):
        for name in ("cards", "plugins.aws", "plugins.aws.batch", "client.core", "runner"):
            with self.subTest(name), self.assertRaisesRegex(ModuleNotFoundError, "exists in Metaflow, but mf does not"):
                exec(f"import metaflow.{name}", {})

    def test_name_that_nobody_has(self):
        with self.assertRaisesRegex(AttributeError, "did you mean 'retry'"):
            metaflow.retyr
        with self.assertRaises(ImportError):
            exec("from metaflow import retyr", {})
        with self.assertRaises(ModuleNotFoundError):
            exec("import metaflow.nothing", {})

    def test_exceptions_are_where_metaflow_has_them(self):
        from metaflow.plugins.catch_decorator import FailureHandledByCatch
        from metaflow.plugins.timeout_decorator import TimeoutException

        for cls in (FailureHandledByCatch, TimeoutException):
            self.assertTrue(issubclass(cls, MetaflowException))

    def test_dir(self):
        self.assertLessEqual({"FlowSpec", "retry", "current"}, set(dir(metaflow)))

    def test_import_loads_little(self):
        # Each of these costs milliseconds in every task.
        code = (
            "import sys\n"
            "from metaflow import FlowSpec, step, retry, Parameter, Config\n"
            "heavy = 'typing re inspect ast json difflib dataclasses subprocess traceback importlib.metadata'.split()\n"
            "print([m for m in heavy if m in sys.modules])"
        )
        self.assertEqual(python(code, "-S").strip(), "[]")


if __name__ == "__main__":
    unittest.main()
