from metaflow import FlowSpec, step


class Endless(FlowSpec):
    @step
    def start(self):
        self.way = "loop"
        self.next({"loop": self.loop, "end": self.end}, condition="way")

    @step
    def loop(self):
        self.more = "yes"
        self.next({"yes": self.loop, "also": self.loop}, condition="more")

    @step
    def end(self):
        pass


if __name__ == "__main__":
    Endless()
