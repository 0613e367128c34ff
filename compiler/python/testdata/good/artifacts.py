from metaflow import FlowSpec, Parameter, step


def fill(flow):
    flow.hidden = 1


class Artifacts(FlowSpec):
    p = Parameter("p", default=1)

    @step
    def start(self):
        self.a, (self.b, *self.c) = 1, (2, 3)
        self.d: int = self.p
        for self.e in range(3):
            self.f = [x for x in range(self.e)]
        with open("/dev/null") as self.g:
            pass
        self.table = {}
        self.table["k"] = 1
        del self.g
        self.next(self.known)

    @step
    def known(self):
        if hasattr(self, "maybe"):
            print(self.maybe)
        try:
            print(self.perhaps)
        except AttributeError:
            pass
        getattr(self, "optional", None)
        print(getattr(self, "asked"), isinstance(self, FlowSpec), lambda: self.lazy)
        setattr(self, "set_by_name", 1)
        self.__class__
        self.next(self.unknown)

    @step
    def unknown(self):
        fill(self)
        self.next(self.by_name)

    @step
    def by_name(self):
        for name in "xy":
            setattr(self, name, 1)
        self.next(self.end)

    @step
    def end(self):
        print(self.a, self.a.b.c)
