"""Branches come together in a step that does not take inputs."""

from metaflow import FlowSpec, step


class Meets(FlowSpec):
    @step
    def start(self):
        self.next(self.a, self.b)

    @step
    def a(self):
        self.next(self.together)

    @step
    def b(self):
        self.next(self.together)

    @step
    def together(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    Meets()
