from metaflow import FlowSpec, step


class Bad(FlowSpec):
    @step
    def start(self)
        pass
