from metaflow import FlowSpec, FlowMutator, StepMutator, batch, card, parallel, project, retry, schedule, step, timeout


class Flows(FlowMutator):
    pass


class Steps(StepMutator):
    pass


@project
@project(name="p")
@schedule(dayly=True)
@retry
class Bad(FlowSpec):
    @retry(tims=3)
    @retry(times=2)
    @step
    def start(self):
        self.next(self.a)

    @step
    @timeout(seconds=3)
    def a(self):
        self.next(self.b)

    @retry(5)
    @parallel(size=3)
    @step
    def b(self):
        self.next(self.end)

    @project
    @Steps
    def not_a_step(self):
        pass

    @Steps(3)
    @card
    @card
    @batch(
        cpu=1,
        memroy=2,
    )
    @step
    def end(self):
        pass
