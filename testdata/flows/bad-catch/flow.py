"""@catch where nothing would say how to go on, and with names that cannot be."""

from metaflow import FlowSpec, Parameter, catch, step


class Catch(FlowSpec):
    alpha = Parameter("alpha", default=1)

    @catch
    @step
    def start(self):
        self.items = [1]
        self.next(self.body, foreach="items")

    @catch(var="not a name")
    @step
    def body(self):
        self.next(self.join)

    @catch(var="alpha")
    @step
    def join(self, inputs):
        self.next(self.choose)

    @catch(var="oops")
    @step
    def choose(self):
        self.way = "a"
        self.next({"a": self.a, "b": self.end}, condition="way")

    @step
    def a(self):
        self.next(self.end)

    @catch(var="index")
    @step
    def end(self):
        pass


if __name__ == "__main__":
    Catch()
