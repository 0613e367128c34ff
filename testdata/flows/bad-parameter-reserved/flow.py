from metaflow import FlowSpec, Parameter, step


class ReservedParameter(FlowSpec):
    tag = Parameter("tag")
    workers = Parameter("max-workers", default=1)
    run_id = Parameter("run_id", default="x")

    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    ReservedParameter()
