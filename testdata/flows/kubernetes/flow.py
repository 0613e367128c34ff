"""Steps that run as Kubernetes jobs, merged with @resources."""

from metaflow import FlowSpec, kubernetes, resources, step


class KubernetesFlow(FlowSpec):
    @kubernetes(image="python:3.12", cpu=2, memory=1000, labels={"team": "ml"}, tolerations=[{"key": "gpu"}])
    @resources(cpu=1, memory=2000)
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        self.done = True


if __name__ == "__main__":
    KubernetesFlow()
