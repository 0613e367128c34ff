from metaflow import FlowSpec, step


class StartEntered(FlowSpec):
    @step
    def start(self):
        self.next(self.work)

    @step
    def work(self):
        self.again = "no"
        self.next({"yes": self.start, "no": self.end}, condition="again")

    @step
    def end(self):
        pass


if __name__ == "__main__":
    StartEntered()
