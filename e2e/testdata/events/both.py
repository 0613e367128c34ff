"""Started by two events, when both have come."""

from metaflow import FlowSpec, Parameter, current, step, trigger


@trigger(events=["2026-11-23", {"name": "9.later", "parameters": {"what": "what"}}], options={"reset_at": {"cron": "0 0 1 1 *"}})
class BothFlow(FlowSpec):
    what = Parameter("what", default="nothing")
    more = Parameter("more", default=7)

    @step
    def start(self):
        self.by = sorted(event.name for event in current.trigger.events)
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    BothFlow()
