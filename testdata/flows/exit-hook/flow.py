"""Functions that run when a deployed flow has ended."""

from metaflow import FlowSpec, exit_hook, step


def celebrate():
    print("well done")


def mourn(run):
    print("failed", run)


@exit_hook(on_success=[celebrate], on_error=[mourn])
class HookFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        self.done = True


if __name__ == "__main__":
    HookFlow()
