"""Tests of the running half: the harness plays the task runtime's side of docs/step-protocol.md."""
