import missing_top.sub as sub
from missing_other import Base, decorate
from metaflow import FlowSpec, step

try:
    import missing_optional
except ImportError:
    missing_optional = None


class Model(Base):
    pass


@decorate
def function():
    pass


TABLE = sub.frame(1)["a"] + 2
assert missing_optional is None


class Stubs(FlowSpec):
    @step
    def start(self):
        import missing_inside

        self.x = missing_inside.value
        self.next(self.end)

    @step
    def end(self):
        pass
