from datetime import timedelta

from metaflow import (
    FlowSpec,
    airflow_external_task_sensor,
    airflow_s3_key_sensor,
    batch,
    card,
    catch,
    conda,
    conda_base,
    environment,
    exit_hook,
    kubernetes,
    project,
    pypi,
    pypi_base,
    resources,
    retry,
    schedule,
    secrets,
    step,
    timeout,
    trigger,
    trigger_on_finish,
)


def notify(run):
    pass


def event(context):
    return {"name": "made-by-" + context.flow_name, "parameters": {}}


@airflow_external_task_sensor(name="wait", external_dag_id="d", execution_delta=timedelta(hours=1))
@airflow_s3_key_sensor(name="key", bucket_key="s3://b/k")
@airflow_s3_key_sensor(name="other", bucket_key="s3://b/l")
@conda_base(python="3.11", libraries={"pandas": "2.0"})
@exit_hook(on_success=[notify], on_error=["module.function"])
@project(name="p")
@pypi_base(python="3.11")
@schedule
@trigger(event=event)
@trigger_on_finish(flows=["A", {"name": "B", "project": "p"}])
class Decorators(FlowSpec):
    @batch(cpu=2, image="python:3.12", queue="q")
    @card
    @card(type="blank", id="second", options={"a": (1, 2)})
    @catch(var="failure")
    @conda(packages={"numpy": "1.26"})
    @environment(vars={"A": "1", "B": 2})
    @step
    def start(self):
        self.next(self.end)

    @kubernetes(gpu=1, tolerations=[{"key": "k"}], labels={"l": None})
    @pypi(packages={"requests": ">=2"})
    @resources(
        cpu=4,
        memory=8192,
    )
    @retry
    @secrets(sources=["s"])
    @timeout(hours=1)
    @step
    def end(self):
        pass
