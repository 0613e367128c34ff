"""Started by the ends of two runs, of flows in a project that it is not in."""

from metaflow import FlowSpec, current, step, trigger_on_finish


@trigger_on_finish(
    flows=["team_a.user.tester.ValuesFlow", {"name": "AfterFlow", "project": "team_a", "project_branch": "user.tester"}]
)
class JoinedFlow(FlowSpec):
    @step
    def start(self):
        self.by = sorted(run.pathspec for run in current.trigger.runs)
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    JoinedFlow()
