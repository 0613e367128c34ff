from metaflow import FlowSpec, Parameter, project, retry, step


class Mixin:
    SHARED = [1, 2, {"k": None}]

    def helper(self):
        self.from_helper = self.needed
        return self.SHARED


@project(name="shared")
class Base(FlowSpec):
    size = Parameter("size", default=3)
    overridden = Parameter("overridden", default=1)

    @retry(times=1)
    @step
    def start(self):
        self.next(self.work)

    @step
    def work(self):
        self.next(self.end)

    @step
    def end(self):
        pass
