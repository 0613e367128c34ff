package main

import (
	"strings"
	"testing"
)

func TestTranslateMetaflow(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"f.py", "check f.py"},
		{"f.py run", "run f.py"},
		{"f.py run --alpha 3 --tag x", "run f.py --tag x -- --alpha 3"},
		{"f.py run --json={} --with retry --set --tag --max-workers=2", "run f.py --with retry --max-workers=2 -- --json={} --set --tag"},
		{"f.py run --help", "run f.py --help"},
		{"f.py run stray", "run f.py stray"},
		{"f.py --with retry run --max-workers 2", "run f.py --with retry --max-workers 2"},
		{"f.py --with=retry run", "run f.py --with=retry"},
		{"f.py --no-pylint --metadata=local --datastore local --environment conda run", "run f.py"},
		{"f.py --quiet --config a x.json --config-value b {} run", "run f.py --quiet --config a=x.json --config-value b={}"},
		{"f.py --branch b --production run", "run f.py --branch b --production"},
		{"f.py resume start --origin-run-id 7", "resume f.py start --origin-run-id 7"},
		{"f.py check", "check f.py"},
		{"f.py show", "graph f.py"},
		{"f.py output-dot", "graph f.py --format dot"},
		{"f.py output-raw", "compile f.py --target ir -o -"},
		{"f.py argo-workflows create", "deploy f.py --target argo"},
		{"f.py --branch b argo-workflows --name n create --authorize t --workflow-timeout=60 --tag x",
			"deploy f.py --target argo --branch b --name n --authorize t --set argo.workflow-timeout=60 --tag x"},
		{"f.py argo-workflows create --only-json", "compile f.py --target argo -o -"},
		{"f.py argo-workflows trigger --alpha 1 --run-id-file x", "trigger f.py --target argo --run-id-file x -- --alpha 1"},
		{"f.py --production argo-workflows trigger --wait 1", "trigger f.py --target argo --production -- --wait 1"},
		{"f.py --branch=b --with retry argo-workflows delete --authorize t", "undeploy f.py --target argo --branch=b --authorize t"},
		{"f.py --branch b argo-workflows --name n delete", "undeploy n --target argo"},
		{"f.py argo-workflows --name=n trigger", "trigger n --target argo"},
		{"f.py argo-workflows terminate argo-f-1", "stop argo-f-1 --target argo"},
		{"f.py argo-workflows status argo-f-1", "status argo-f-1 --target argo"},
		{"f.py argo-workflows delete", "undeploy f.py --target argo"},
		{"f.py version", "version"},
		{"f.py help", "--help"},
		{"f.py --help", "--help"},
		{"f.py -h run", "--help"},
	} {
		got, err := translateMetaflow(strings.Fields(c.in))
		if text := strings.Join(got, " "); err != nil || text != c.want {
			t.Errorf("%s: %s, %v; want %s", c.in, text, err, c.want)
		}
	}
}

func TestTranslateMetaflowRefuses(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", "needs a command"},
		{"f.py --bogus run", "unknown option --bogus"},
		{"f.py --with", "--with takes a value"},
		{"f.py --metadata", "--metadata takes a value"},
		{"f.py --config a", "--config takes a name and a value"},
		{"f.py argo-workflows", "needs a command"},
		{"f.py argo-workflows --name", "--name takes a value"},
		{"f.py argo-workflows --x create", "unknown option --x"},
		{"f.py argo-workflows create --tag", "--tag takes a value"},
		{"f.py argo-workflows create --notify-on-error", "--notify-on-error"},
		{"f.py argo-workflows terminate", "takes the id of a run"},
		{"f.py argo-workflows list-runs", "mf runs"},
		{"f.py argo-workflows bogus", "bogus"},
		{"f.py step-functions create", "mf compile f.py --target step-functions"},
		{"f.py airflow create", "mf compile f.py --target airflow"},
		{"f.py dump 1/a", "mf dump"},
		{"f.py batch step", `"batch" of Metaflow is not there`},
	} {
		got, err := translateMetaflow(strings.Fields(c.in))
		var exit *exitError
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v; want an error with %q", c.in, got, err, c.want)
		} else if exit = asExit(err); exit == nil || exit.code != exitUsage {
			t.Errorf("%s: %v is no wrong usage", c.in, err)
		}
	}
}
