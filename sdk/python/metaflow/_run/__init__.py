"""The running half of the SDK: the worker process, the tasks it forks, and what a step body sees while it runs."""
