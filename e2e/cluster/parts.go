//go:build linux

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// The names of a cluster's parts, for Stop, Start and Restart.
const (
	partEtcd        = "etcd"
	partContainerd  = "containerd"
	partAPIServer   = "apiserver"
	partControllers = "controller-manager"
	partScheduler   = "scheduler"
	partKubelet     = "kubelet"
	partArgo        = "workflow-controller"
)

// part is how a part is started.
type part struct {
	args []string
	env  []string
	// ready reports whether it is of use; nil where others find out.
	ready func(ctx context.Context) error
}

// argoHealth is where Argo's controller tells of its health. It has no setting.
const argoHealth = "http://127.0.0.1:6060/healthz"

func (o *owner) allParts(etcdPort, peerPort string) map[string]part {
	admin, keys := o.dir("admin.kubeconfig"), o.dir("keys")+"/"
	etcd, peer := "http://127.0.0.1:"+etcdPort, "http://127.0.0.1:"+peerPort
	kube := func(args ...string) []string { return append([]string{o.programs.kube}, args...) }
	return map[string]part{
		partEtcd: {ready: listens("127.0.0.1:" + etcdPort), args: []string{"etcd", "--name", "e2e", "--data-dir", o.state.Memory,
			"--listen-client-urls", etcd, "--advertise-client-urls", etcd, "--listen-peer-urls", peer,
			"--initial-advertise-peer-urls", peer, "--initial-cluster", "e2e=" + peer}},
		partContainerd: {ready: o.containerdReady, args: []string{"containerd", "--config", o.dir("containerd.toml")}},
		partAPIServer: {ready: o.apiReady, args: kube("apiserver", "--etcd-servers="+etcd, "--bind-address="+apiAddress, "--secure-port=443",
			"--advertise-address="+apiAddress, "--service-cluster-ip-range="+serviceRange,
			// An address of the loopback device is refused as an endpoint, and none is needed.
			"--endpoint-reconciler-type=none",
			"--tls-cert-file="+keys+"apiserver.crt", "--tls-private-key-file="+keys+"apiserver.key", "--client-ca-file="+keys+"ca.crt",
			"--token-auth-file="+keys+"tokens.csv", "--authorization-mode=RBAC",
			"--service-account-issuer=https://kubernetes.default.svc", "--service-account-signing-key-file="+keys+"accounts.key",
			"--service-account-key-file="+keys+"accounts.pub", "--kubelet-preferred-address-types=Hostname",
			"--kubelet-client-certificate="+keys+"kubelet-client.crt", "--kubelet-client-key="+keys+"kubelet-client.key",
			"--kubelet-certificate-authority="+keys+"ca.crt", "--profiling=false",
			// What gives pods the network of the machine: see config/argo.yaml.
			"--feature-gates=MutatingAdmissionPolicy=true", "--runtime-config=admissionregistration.k8s.io/v1alpha1=true")},
		partControllers: {args: kube("controller-manager", "--kubeconfig="+admin, "--leader-elect=false", "--secure-port=0",
			"--service-account-private-key-file="+keys+"accounts.key", "--root-ca-file="+keys+"ca.crt", "--profiling=false")},
		partScheduler: {args: kube("scheduler", "--kubeconfig="+admin, "--leader-elect=false", "--secure-port=0", "--profiling=false")},
		partKubelet: {args: kube("kubelet", "--config="+o.dir("kubelet.yaml"), "--kubeconfig="+admin, "--root-dir="+o.dir("kubelet"),
			"--cert-dir="+o.dir("keys"), "--hostname-override="+nodeName)},
		partArgo: {ready: answers(argoHealth), args: []string{o.programs.controller, "--configmap", "workflow-controller-configmap",
			"--executor-image", executorImage, "--executor-image-pull-policy", "Never", "--loglevel", "info",
			// Argo's own 20 and 30, and at least 10 s between two looks at a workflow, are for clusters with many.
			"--qps", "100", "--burst", "200"},
			env: []string{"LEADER_ELECTION_DISABLE=true", "DEFAULT_REQUEUE_TIME=1s", "KUBECONFIG=" + o.dir("argo.kubeconfig")}},
	}
}

// startControl starts what keeps the cluster's objects.
func (o *owner) startControl(ctx context.Context) error {
	for _, name := range []string{partEtcd, partContainerd, partAPIServer, partControllers, partScheduler} {
		if err := o.run(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// startWork starts what runs pods and workflows.
func (o *owner) startWork(ctx context.Context) error {
	if err := o.run(ctx, partKubelet); err != nil {
		return err
	}
	if err := o.run(ctx, partArgo); err != nil {
		return err
	}
	client, err := o.client()
	if err != nil {
		return err
	}
	return o.running[partKubelet].await(ctx, time.Minute, func(ctx context.Context) error {
		node, err := client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, c := range node.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue && len(node.Spec.Taints) == 0 {
				return nil
			}
		}
		return errors.New("the node is not ready")
	})
}

func (o *owner) client() (*kubernetes.Clientset, error) {
	config, err := clientcmd.BuildConfigFromFlags("", o.dir("admin.kubeconfig"))
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

func (o *owner) apiReady(ctx context.Context) error {
	client, err := o.client()
	if err != nil {
		return err
	}
	return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}

func (o *owner) containerdReady(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "ctr", "--address", containerdSocket(o.root), "version").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// listens reports whether something listens on an address.
func listens(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// answers reports whether a URL is answered with success.
func answers(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", url, resp.Status)
		}
		return nil
	}
}

func writeFile(file string, data []byte) error { return os.WriteFile(file, data, 0o600) }
