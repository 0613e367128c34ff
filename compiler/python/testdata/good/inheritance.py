"""Steps and parameters come from two files."""
from base_package.steps import Base, Mixin
from metaflow import Parameter, schedule, step


class Middle(Mixin, Base):
    overridden = Parameter("overridden", default="now a text")


@schedule(cron="0 6 * * *", timezone="Europe/Helsinki")
class Derived(Middle):
    @step
    def work(self):
        self.helper()
        self.prepare()
        self.next(self.more)

    @step
    def more(self):
        self.x = super().SHARED
        self.next(self.end)

    def prepare(self):
        setattr(self, "prepared", True)
        self.prepare()

    @property
    def shortcut(self):
        return self.prepared

    @step
    def end(self):
        print(self.shortcut)
