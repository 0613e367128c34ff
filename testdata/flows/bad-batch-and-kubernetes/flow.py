from metaflow import FlowSpec, batch, kubernetes, step


class BatchAndKubernetes(FlowSpec):
    @batch(cpu=1)
    @kubernetes(cpu=1)
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    BatchAndKubernetes()
