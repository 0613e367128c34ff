"""A task's process: how it ends, its streams, forks, random state and failures."""

from __future__ import annotations

import os
import random
import select
import signal
import sys
import unittest

from .flows import PROCESS_FLOW, ProcessTest
from .harness import TIMEOUT


class EndTest(ProcessTest):
    def test_ways_to_fail(self) -> None:
        cases = [
            (
                "sys.exit(0)",
                "builtins.SystemExit",
                "step 'start' ended by sys.exit(); a step succeeds only by returning",
            ),
            ("sys.exit('reason')", "builtins.SystemExit", "SystemExit: reason"),
            ("raise KeyboardInterrupt", "builtins.KeyboardInterrupt", "raise KeyboardInterrupt"),
            ("os.kill(os.getpid(), signal.SIGINT); time.sleep(9)", "builtins.KeyboardInterrupt", "time.sleep(9)"),
            ("raise GeneratorExit", "builtins.GeneratorExit", "GeneratorExit"),
        ]
        for body, kind, text in cases:
            with self.subTest(body):
                task = self.start("self.x = 1\n" + body)
                self.assertEqual(task.error["type"], kind)
                self.assertIn(text, task.stderr)
                self.assertEqual(task["x"], 1)
                self.assertEqual((task.exited["code"], task.exited["signal"]), (1, 0))
                self.assertFalse(task.error["timeout"])

    def test_the_process_dies(self) -> None:
        task = self.start("print('before', flush=True); os._exit(7)")
        self.assertEqual((task.done, task.exited["code"], task.stdout), (None, 7, "before\n"))
        for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM):
            task = self.start(f"os.kill(os.getpid(), {int(number)}); time.sleep(9)")
            self.assertEqual((task.done, task.exited["signal"], task.exited["code"]), (None, int(number), 0))
        self.assertGreater(task.exited["max_rss"], 1 << 20)
        self.assertGreater(task.exited["cpu"], 0)

    def test_tracebacks_show_the_users_frames(self) -> None:
        task = self.start(
            "try:\n    helper()\nexcept KeyError as error:\n    raise Mine('wrapped') from error",
            head="class Mine(Exception): pass\ndef helper(): {}['key']",
        )
        text = task.error["traceback"]
        self.assertEqual(task.stderr, text)
        self.assertNotIn("metaflow", text)
        self.assertEqual(task.error["type"], "__main__.Mine")
        self.assertEqual(task.error["message"], "wrapped")
        for part in ("in start\n", "in helper\n", "KeyError: 'key'", "the direct cause of", "Mine: wrapped"):
            self.assertIn(part, text)
        self.assertEqual(text.count("flow.py"), 3)

    def test_an_exception_whose_text_fails(self) -> None:
        task = self.start("raise Bad", head="class Bad(Exception):\n    def __str__(self): raise ValueError\n")
        self.assertEqual(task.error["message"], "<its str() raised ValueError>")
        task = self.start("raise ValueError('\\udc80 lone')")
        self.assertEqual(task.error["message"], "\udc80 lone")

    def test_timeout(self) -> None:
        task = self.start("self.x = 1\ntime.sleep(20)", timeout=0.2)
        self.assertTrue(task.error["timeout"])
        self.assertEqual(task.error["type"], "metaflow.plugins.timeout_decorator.TimeoutException")
        self.assertIn("step 'start' timed out after 0.2 seconds (@timeout)", task.error["message"])
        self.assertIn("time.sleep(20)", task.stderr)
        self.assertEqual(task["x"], 1)
        task = self.start(
            "def others():\n    try:\n        time.sleep(0.1)\n        print(getattr(self, 'nothing', 'none'))\n"
            "    except BaseException as error:\n        print('wrong thread', error)\n"
            "thread = threading.Thread(target=others)\nthread.start()\ntime.sleep(20)",
            timeout=0.3,
        )
        self.assertTrue(task.error["timeout"])
        self.assertEqual(task.stdout, "none\n")
        task = self.start("self.x = 1", timeout=100)
        self.assertTrue(task.ok, task.stderr)
        task = self.start(
            "from metaflow.plugins.timeout_decorator import TimeoutException\n"
            "try:\n    time.sleep(20)\nexcept TimeoutException:\n    self.x = 'caught'",
            timeout=0.2,
        )
        self.assertEqual(task["x"], "caught")

    def test_exit_functions(self) -> None:
        """Those of the flow file's own loading belong to the zygote; a child runs those it registered itself."""
        task = self.start(
            "atexit.register(print, 'in the child')\n"
            "weakref.finalize(C, print, 'finalized')\n"
            "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()\n"
            "print('no newline', end='')",
            head="import weakref, logging\nclass C: pass\natexit.register(print, 'in the zygote')\n"
            "weakref.finalize(C, print, 'too early')\n",
        )
        self.assertTrue(task.ok, task.stderr)
        self.assertEqual(task.stdout, "no newlinethread\nfinalized\nin the child\n")

    def test_an_exit_function_that_fails_does_not_fail_the_task(self) -> None:
        task = self.start("atexit.register(lambda: 1 / 0)\nself.x = 1")
        self.assertEqual((task.ok, task.exited["code"]), (True, 0))
        self.assertIn("division by zero", task.stderr)


class ChildTest(ProcessTest):
    def test_streams_are_live_and_separate(self) -> None:
        worker = self.flow("print('caf\\u00e9')\nprint('err', file=sys.stderr)\nos.system('echo sub')\ntime.sleep(30)")
        worker.init()
        peer, pid, out, err = worker.fork("1")
        peer.send({"op": "step", "step": "start", "inputs": [], "parameters_task": {"artifacts": {}}})
        seen = {out: b"", err: b""}
        while seen != {out: "caf\u00e9\nsub\n".encode(), err: b"err\n"}:
            ready, _, _ = select.select([out, err], [], [], TIMEOUT)
            self.assertTrue(ready, seen)
            for end in ready:
                seen[end] += os.read(end, 1000)
        os.killpg(pid, signal.SIGKILL)
        self.assertEqual(worker.control.receive()[0]["signal"], signal.SIGKILL)
        peer.close()
        for end in (out, err):
            os.close(end)

    def test_environment(self) -> None:
        task = self.start(
            "print(os.environ['GIVEN'], 'MF_PROTOCOL_FD' in os.environ, os.getpgrp() == os.getpid(), sys.stdin.read())\n"
            "print(sys.argv, sys.path[0] == os.path.dirname(sys.argv[0]), __name__)\n"
            "os.system('ls /proc/self/fd | wc -l')\n"
            "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, signal.getsignal(signal.SIGCHLD))",
            env={"GIVEN": "yes"},
        )
        lines = task.stdout.splitlines()
        self.assertEqual(lines[0], "yes False True ")
        self.assertIn("flow.py'] True __main__", lines[1])
        if sys.platform == "linux":
            self.assertLessEqual(int(lines[2]), 4)  # stdin, stdout, stderr, and the folder that ls reads
        self.assertIn("True", lines[3])

    def test_handlers_that_the_flow_installs_are_kept(self) -> None:
        task = self.start(
            "os.kill(os.getpid(), signal.SIGINT)\ntime.sleep(0.01)\nprint(seen)",
            head="seen = []\nsignal.signal(signal.SIGINT, lambda *a: seen.append('own'))",
        )
        self.assertEqual(task.stdout, "['own']\n", task.stderr)

    def test_children_do_not_share_random_state(self) -> None:
        worker = self.flow("self.x = random.random()", head="random.random()")
        values = {worker.step("start", next="end")["x"] for _ in range(3)}
        self.assertEqual(len(values), 3)

    def test_a_seed_in_the_flow_file_counts_in_every_child(self) -> None:
        worker = self.flow(
            "self.x = [random.random(), draw()]", head="from random import random as draw\nrandom.seed(7)"
        )
        expected = random.Random(7)
        first = [expected.random(), expected.random()]
        for _ in range(2):
            self.assertEqual(worker.step("start", next="end")["x"], first)

    def test_a_process_forked_by_the_body_may_come_back(self) -> None:
        task = self.start(
            "self.x = 1\npid = os.fork()\nif pid == 0:\n    return print('grandchild')\n"
            "os.waitpid(pid, 0)\nif os.fork() == 0:\n    raise ValueError('in the grandchild')\nos.wait()\nprint('child')"
        )
        self.assertTrue(task.ok, task.stderr)
        self.assertEqual(task.stdout, "grandchild\nchild\n")
        self.assertIn("ValueError: in the grandchild", task.stderr)
        self.assertEqual(task["x"], 1)

    def test_artifacts_may_be_read_by_threads_and_forked_processes(self) -> None:
        source = """
        import os
        from concurrent.futures import ThreadPoolExecutor
        from metaflow import FlowSpec, step
        class F(FlowSpec):
            @step
            def start(self):
                for i in range(20):
                    setattr(self, "a%d" % i, [i] * 100)
                self.next(self.end)
            @step
            def end(self):
                def read(i):
                    return getattr(self, "a%d" % i)[0]
                pids = []
                for half in (0, 5):
                    pid = os.fork()
                    if pid == 0:
                        os._exit(sum(read(i) for i in range(half, half + 5)))
                    pids.append(pid)
                with ThreadPoolExecutor(4) as pool:
                    print(list(pool.map(read, range(10, 20))))
                print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids])
        if __name__ == "__main__":
            F()
        """
        worker = self.worker(source)
        end = worker.step("end", worker.step("start", next="end"))
        self.assertEqual(end.stdout, f"{list(range(10, 20))}\n[10, 35]\n", end.stderr)
        self.assertEqual(end.pickles, {})

    def test_isolated(self) -> None:
        worker = self.flow("self.x = random.random()\nprint(current.pathspec)", isolated=True)
        self.assertEqual(worker.init().done["ok"], True)
        task = worker.step("start", next="end")
        self.assertEqual((task.ok, task.exited["code"], list(task.pickles)), (True, 0, ["x"]), task.stderr)
        self.assertRegex(task.stdout, r"^F/1/start/\d+\n$")
        worker = self.flow("1 / 0", isolated=True)
        task = worker.step("start", next="end")
        self.assertEqual((task.error["type"], task.exited["code"]), ("builtins.ZeroDivisionError", 1))

    def test_isolated_describes_too(self) -> None:
        worker = self.flow("self.x = 1", isolated=True)
        process, peer = worker._start(["--task"])
        peer.send({"op": "describe", "with": []})
        self.assertEqual(peer.receive()[0]["flow"]["name"], "F")
        peer.send({"op": "init", "parameters": {}})
        self.assertTrue(peer.receive()[0]["ok"])
        self.assertEqual(process.wait(TIMEOUT), 0)
        peer.close()

    def test_user_step_decorators(self) -> None:
        head = (
            "from metaflow import user_step_decorator, USER_SKIP_STEP\n"
            "@user_step_decorator\ndef around(step_name, flow, inputs):\n"
            "    print('before', step_name)\n    try:\n        yield\n    except ValueError:\n        flow.caught = True\n"
            "    print('after')\n"
            "@user_step_decorator\ndef skip(step_name, flow, inputs):\n    flow.skipped = True\n    yield USER_SKIP_STEP\n"
        )
        source = PROCESS_FLOW.format(head=head, body="raise ValueError").replace(
            "    @step\n    def start", "    {}@step\n    def start"
        )
        task = self.worker(source.replace("{}", "@around\n    ")).step("start", next="end")
        self.assertEqual((task.stdout, task["caught"]), ("before start\nafter\n", True), task.stderr)
        self.assertEqual(task.transition["targets"], ["end"])
        task = self.worker(source.replace("{}", "@skip\n    ")).step("start", next="end")
        self.assertEqual((task["skipped"], task.transition["targets"]), (True, ["end"]), task.stderr)


if __name__ == "__main__":
    unittest.main()
