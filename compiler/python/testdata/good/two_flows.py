from metaflow import FlowSpec, step

print("printed while it is loaded")


class First(FlowSpec):
    @step
    def start(self):
        pass


class Second(FlowSpec):
    @step
    def start(self):
        pass
