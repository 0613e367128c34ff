from metaflow import FlowSpec, step


class Bad(FlowSpec):
    @retry
    @step
    def start(self):
        pass
