"""The zygote and its children as processes: signals, ends, streams, forks, random state, failures."""

from __future__ import annotations

import array
import json
import os
import select
import signal
import socket
import subprocess
import sys
import unittest
from typing import Any

from .harness import SDK, TIMEOUT, FlowTest, Peer, Task, Worker, wait_until

FLOW = """
import atexit, os, random, signal, sys, threading, time
from metaflow import FlowSpec, current, step
{head}
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


class ProcessTest(FlowTest):
    def flow(self, body: str, head: str = "", **options: Any) -> Worker:
        return self.worker(FLOW.format(head=head, body=body.replace("\n", "\n        ")), **options)

    def start(self, body: str, head: str = "", **fields: Any) -> Task:
        return self.flow(body, head).step("start", next="end", **fields)


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
        import random

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
        source = FLOW.format(head=head, body="raise ValueError").replace(
            "    @step\n    def start", "    {}@step\n    def start"
        )
        task = self.worker(source.replace("{}", "@around\n    ")).step("start", next="end")
        self.assertEqual((task.stdout, task["caught"]), ("before start\nafter\n", True), task.stderr)
        self.assertEqual(task.transition["targets"], ["end"])
        task = self.worker(source.replace("{}", "@skip\n    ")).step("start", next="end")
        self.assertEqual((task["skipped"], task.transition["targets"]), (True, ["end"]), task.stderr)


class ZygoteTest(ProcessTest):
    def test_describe_and_load_once(self) -> None:
        worker = self.flow("pass", head="print('loaded', flush=True)")
        first = worker.describe()
        self.assertEqual((first["op"], first["flow"]["name"]), ("described", "F"))
        self.assertEqual(worker.describe(), first)
        self.assertEqual(first["python"], sys.version)

    def test_a_flow_that_cannot_be_loaded(self) -> None:
        worker = self.worker("import no_such_module\n")
        answer = worker.describe()
        self.assertIsNone(answer["flow"])
        self.assertTrue(answer["diagnostics"])
        task = worker.init()
        self.assertIn("no_such_module", task.error["message"])
        self.assertIn("no_such_module", task.stderr)
        self.assertEqual(task.exited["code"], 1)

    def test_many_children_at_once(self) -> None:
        worker = self.flow("self.x = 1")
        worker.describe()
        peers = [worker.fork(str(number)) for number in range(20)]
        for peer, *_ in peers:
            peer.send({"op": "step", "step": "start", "inputs": [], "next": {"targets": ["end"]}})
        ended = [worker.control.receive()[0] for _ in peers]
        self.assertEqual({(e["op"], e["code"], e["signal"]) for e in ended}, {("exited", 0, 0)})
        self.assertEqual({e["id"] for e in ended}, {str(number) for number in range(20)})
        self.assertEqual({e["pid"] for e in ended}, {pid for _, pid, _, _ in peers})
        for peer, _, *streams in peers:
            peer.close()
            for stream in streams:
                os.close(stream)

    def test_mistaken_messages(self) -> None:
        worker = self.flow("pass")
        worker.control.send({"op": "dance", "id": "1"})
        answer, _ = worker.control.receive()
        self.assertEqual(answer, {"op": "error", "id": "1", "message": "unknown operation 'dance'"})
        worker.control.send({"op": "fork", "id": "2"})
        answer, _ = worker.control.receive()
        self.assertEqual(answer["message"], "a message came with 0 of 3 file descriptors")
        self.assertTrue(worker.describe()["flow"])

    def test_a_frame_in_pieces_with_descriptors(self) -> None:
        worker = self.flow("print('ran')")
        ours, theirs = socket.socketpair()
        streams = [os.pipe(), os.pipe()]
        text = json.dumps({"op": "fork", "id": "1", "filling": "x" * 300000}).encode()
        frame = len(text).to_bytes(4, "big") + bytes(4) + text
        fds = array.array("i", [theirs.fileno(), *(write for _, write in streams)])
        worker.control.send({"op": "describe", "with": []})
        sent = worker.control.sock.sendmsg([frame[:5]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        worker.control.sock.sendall(frame[sent:])
        theirs.close()
        self.assertEqual([worker.control.receive()[0]["op"] for _ in "12"], ["described", "forked"])
        peer = Peer(ours)
        peer.send({"op": "step", "step": "start", "inputs": [], "next": {"targets": ["end"]}})
        self.assertTrue(peer.receive()[0]["ok"])
        self.assertEqual(os.read(streams[0][0], 100), b"ran\n")
        self.assertEqual(worker.control.receive()[0]["code"], 0)
        peer.close()
        for end in (*streams[0], *streams[1]):
            os.close(end)

    def test_a_fork_that_fails(self) -> None:
        head = "def no_more():\n    raise BlockingIOError(11, 'Resource temporarily unavailable')\nos.fork = no_more"
        worker = self.flow("pass", head)
        worker.describe()
        peer, pid, out, err = worker.fork("1")
        self.assertEqual(pid, 0)
        exited, _ = worker.control.receive()
        self.assertEqual((exited["op"], exited["id"], exited["code"]), ("exited", "1", 1))
        self.assertIn(b"no process could be started for the task: [Errno 11]", os.read(err, 1000))
        peer.close()
        os.close(out)
        os.close(err)
        self.assertTrue(worker.describe()["flow"])

    def test_processes_of_multiprocessing(self) -> None:
        task = self.start(
            "import multiprocessing as mp\n"
            "for method in ('fork', 'spawn'):\n"
            "    with mp.get_context(method).Pool(2) as pool:\n"
            "        print(pool.map(double, [1, 2, 3]))",
            head="def double(x): return 2 * x",
        )
        self.assertEqual(task.stdout, "[2, 4, 6]\n[2, 4, 6]\n", task.stderr)
        self.assertTrue(task.ok)

    def test_quit_and_end_of_file(self) -> None:
        worker = self.flow("pass")
        worker.control.send({"op": "quit"})
        self.assertEqual(worker.process.wait(TIMEOUT), 0)
        worker = self.flow("pass")
        worker.control.close()
        self.assertEqual(worker.process.wait(TIMEOUT), 0)

    def end_with_a_child(self, body: str, head: str = "") -> tuple[Worker, int]:
        worker = self.flow(body, head)
        peer, pid, out, err = worker.fork("1")
        peer.send({"op": "step", "step": "start", "inputs": []})
        self.assertEqual(os.read(out, 100), b"up\n")
        worker.control.close()
        self.assertEqual(worker.process.wait(TIMEOUT), 0)
        peer.close()
        os.close(err)
        os.close(out)
        return worker, pid

    def test_children_are_ended_with_their_groups(self) -> None:
        """SIGTERM reaches what the body started as well."""
        worker, pid = self.end_with_a_child(
            "import subprocess\nsubprocess.Popen(['sh', '-c', 'trap \"echo sub > term; exit\" TERM; touch ready; "
            "while :; do sleep 0.05; done'])\n"
            "while not os.path.exists('ready'): time.sleep(0.01)\nprint('up'); time.sleep(60)"
        )
        wait_until(lambda: os.path.exists(os.path.join(worker.folder, "term")), "the subprocess had SIGTERM")
        self.assertRaises(ProcessLookupError, os.kill, pid, 0)

    def test_children_that_ignore_sigterm_are_killed(self) -> None:
        _, pid = self.end_with_a_child("signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up'); time.sleep(60)")
        wait_until(lambda: not _exists(pid), "the child was killed")

    def test_ctrl_c_at_the_terminal_is_the_runtimes_business(self) -> None:
        worker = self.flow("print('still here')")
        worker.describe()
        worker.process.send_signal(signal.SIGINT)
        self.assertEqual(worker.step("start", next="end").stdout, "still here\n")

    def test_a_flow_that_takes_signals_while_loading(self) -> None:
        head = "import asyncio\nasync def main(): pass\nasyncio.run(main())\nsignal.signal(signal.SIGCHLD, lambda *a: None)"
        self.assertEqual(self.start("print('ran')", head=head).stdout, "ran\n")

    def test_usage(self) -> None:
        command = [sys.executable, os.path.join(SDK, "mf_worker.py")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": SDK})
        self.assertEqual(done.returncode, 2)
        self.assertIn("usage: mf_worker.py [--task] FLOW_FILE[:CLASS]", done.stderr)

    def test_the_class_may_be_named(self) -> None:
        worker = self.worker(
            "from metaflow import FlowSpec, step\n"
            + "".join(
                f"class {name}(FlowSpec):\n    @step\n    def start(self):\n        print('{name}')\n" for name in "AB"
            )
        )
        worker.control.close()
        worker.process.wait(TIMEOUT)
        ours, theirs = socket.socketpair()
        worker.process.args[-1] += ":B"
        env = {**worker.environment, "MF_PROTOCOL_FD": str(theirs.fileno())}
        worker.process = subprocess.Popen(worker.process.args, env=env, cwd=worker.folder, pass_fds=[theirs.fileno()])
        theirs.close()
        worker.control = Peer(ours)
        self.assertEqual(worker.step("start").stdout, "B\n")


def _exists(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().split()[2] != "Z"
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    unittest.main()
