from metaflow import FlowSpec, step


class RecursiveStart(FlowSpec):
    @step
    def start(self):
        self.more = "no"
        self.next({"yes": self.start, "no": self.end}, condition="more")

    @step
    def end(self):
        pass


if __name__ == "__main__":
    RecursiveStart()
