"""A recursive step with two ways out."""

from metaflow import FlowSpec, step


class WaysOutFlow(FlowSpec):
    @step
    def start(self):
        self.tries = 0
        self.next(self.attempt)

    @step
    def attempt(self):
        self.tries = self.tries + 1
        self.outcome = "retry" if self.tries < 3 else "give_up"
        self.next({"retry": self.attempt, "ok": self.success, "give_up": self.failure}, condition="outcome")

    @step
    def success(self):
        self.result = "success"
        self.next(self.end)

    @step
    def failure(self):
        self.result = "failure"
        self.next(self.end)

    @step
    def end(self):
        print(self.result, self.tries)


if __name__ == "__main__":
    WaysOutFlow()
