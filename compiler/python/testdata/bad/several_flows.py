from metaflow import FlowSpec, step


class One(FlowSpec):
    @step
    def start(self):
        pass


class Two(FlowSpec):
    @step
    def start(self):
        pass
