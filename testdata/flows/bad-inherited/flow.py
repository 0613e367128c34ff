"""The mistake is in the base class, in another file."""

from base import BaseFlow
from metaflow import step


class Inherited(BaseFlow):
    @step
    def work(self):
        self.next(self.finsh)


if __name__ == "__main__":
    Inherited()
