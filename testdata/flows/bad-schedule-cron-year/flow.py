"""What only Amazon's form of cron can say."""

from metaflow import FlowSpec, schedule, step


@schedule(cron="0 0 1 1 ? 2030")
class CronYear(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    CronYear()
