"""What runs after a run, and what a task may see of the cluster."""

import os
import urllib.request

from metaflow import FlowSpec, Parameter, exit_hook, step


def tell(what):
    urllib.request.urlopen(os.environ["TELL"] + "/" + what).read()


def ended(run=None):
    tell("%s/hook-%s" % (run.id if run else "unknown", "succeeded" if run and run.successful else "other"))


def broke():
    tell(os.environ["MF_RUN"] + "/hook-" + os.environ["MF_STATUS"])


@exit_hook(on_success=[ended], on_error=[broke])
class ExitsFlow(FlowSpec):
    fail = Parameter("fail", default=False)

    @step
    def start(self):
        self.sees_token = os.path.exists("/var/run/secrets/kubernetes.io/serviceaccount/token")
        if self.fail:
            raise ValueError("as it was told")
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    ExitsFlow()
