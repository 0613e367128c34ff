"""A cron expression in Amazon's six fields, with days by number: Monday is 2."""

from metaflow import FlowSpec, schedule, step


@schedule(cron="0 10 ? * 2-6 *", timezone="Europe/Helsinki")
class CronFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        self.done = True


if __name__ == "__main__":
    CronFlow()
