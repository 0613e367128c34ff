// Command events is Argo Events' own services, as its controller starts them in pods, without their metrics: those listen on
// a port that has no setting, so that only one service could run on a machine. Settings come by the environment variables
// that the controller sets.
//
//	events eventsource-service   takes in the events of EVENTSOURCE_OBJECT
//	events sensor-service        does what SENSOR_OBJECT says
//	events validate              what the controller asks of SENSOR_OBJECT before it starts anything
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"

	"github.com/argoproj/argo-events/pkg/apis/events/v1alpha1"
	"github.com/argoproj/argo-events/pkg/eventsources"
	"github.com/argoproj/argo-events/pkg/metrics"
	reconciler "github.com/argoproj/argo-events/pkg/reconciler/sensor"
	"github.com/argoproj/argo-events/pkg/sensors"
	"github.com/argoproj/argo-events/pkg/shared/logging"
	"github.com/argoproj/argo-events/pkg/shared/util"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/manager/signals"
)

func main() {
	if err := run(signals.SetupSignalHandler(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "events:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var verb string
	if len(args) == 1 {
		verb = args[0]
	}
	ctx = logging.WithLogger(ctx, logging.NewArgoEventsLogger().Named(verb))
	switch verb {
	case "eventsource-service":
		return serveSource(ctx)
	case "sensor-service":
		return serveSensor(ctx)
	case "validate":
		return validate()
	}
	return fmt.Errorf("it takes eventsource-service, sensor-service or validate")
}

func serveSource(ctx context.Context) error {
	var source v1alpha1.EventSource
	if err := read(v1alpha1.EnvVarEventSourceObject, &source); err != nil {
		return err
	}
	var bus v1alpha1.BusConfig
	if err := read(v1alpha1.EnvVarEventBusConfig, &bus); err != nil {
		return err
	}
	return eventsources.NewEventSourceAdaptor(&source, &bus, os.Getenv(v1alpha1.EnvVarEventBusSubject),
		os.Getenv(v1alpha1.EnvVarPodName), metrics.NewMetrics(source.Namespace)).Start(ctx)
}

func serveSensor(ctx context.Context) error {
	var sensor v1alpha1.Sensor
	if err := read(v1alpha1.EnvVarSensorObject, &sensor); err != nil {
		return err
	}
	var bus v1alpha1.BusConfig
	if err := read(v1alpha1.EnvVarEventBusConfig, &bus); err != nil {
		return err
	}
	config, err := util.GetClientConfig(os.Getenv(v1alpha1.EnvVarKubeConfig))
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	return sensors.NewSensorContext(client, dyn, &sensor, &bus, os.Getenv(v1alpha1.EnvVarEventBusSubject),
		os.Getenv(v1alpha1.EnvVarPodName), metrics.NewMetrics(sensor.Namespace)).Start(ctx)
}

func validate() error {
	var sensor v1alpha1.Sensor
	if err := read(v1alpha1.EnvVarSensorObject, &sensor); err != nil {
		return err
	}
	var bus v1alpha1.EventBus
	if err := read(v1alpha1.EnvVarEventBusConfig, &bus.Status.Config); err != nil {
		return err
	}
	bus.Spec.JetStreamExotic = bus.Status.Config.JetStream
	return reconciler.ValidateSensor(&sensor, &bus)
}

// read reads a variable that holds an object as JSON in base64.
func read(variable string, object any) error {
	data, err := base64.StdEncoding.DecodeString(os.Getenv(variable))
	if err == nil {
		err = json.Unmarshal(data, object)
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", variable, err)
	}
	return nil
}
