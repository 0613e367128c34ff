"""Started by the end of a run of its project; starts another by an event of its own."""

from metaflow import FlowSpec, current, project, step, trigger_on_finish
from metaflow.integrations import ArgoEvent


@project(name="team_a")
@trigger_on_finish(flow="ValuesFlow")
class AfterFlow(FlowSpec):
    @step
    def start(self):
        self.by = current.trigger.run.pathspec
        self.value = current.trigger.run.data.quoted
        ArgoEvent("9.later").safe_publish({"what": "from " + current.run_id}, ignore_errors=False)
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    AfterFlow()
