// Command crilatency times CRI calls as the kubelet makes them (Go's gRPC, one connection to a runtime), through the router and,
// in turns with it, past it. A list past the router is one of each runtime at the same time: the least that putting both together
// can cost. It prints one JSON object: for each call the times in ms, {"ListPodSandbox": {"routed": […], "direct": […]}}.
//
// With -load it makes that many calls through the router, eight at a time, and prints nothing.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	warmUpCalls = 200
	loadLanes   = 8
	callLimit   = 10 * time.Second
)

type call func(ctx context.Context, client runtime.RuntimeServiceClient) error

// subject is a call and the runtimes that answer it without the router.
type subject struct {
	name   string
	make   call
	direct []runtime.RuntimeServiceClient
}

type times struct {
	Routed []float64 `json:"routed"`
	Direct []float64 `json:"direct"`
}

func main() {
	router := flag.String("router", "", "socket of the router")
	machines := flag.String("machines", "", "socket of vmlet")
	containers := flag.String("containers", "", "socket of containerd")
	machine := flag.String("machine", "", "id of a container that is a machine")
	container := flag.String("container", "", "id of a container that is none")
	calls := flag.Int("calls", 1000, "how often each call is timed each way")
	load := flag.Int("load", 0, "only this many calls through the router")
	flag.Parse()
	if err := run(*router, *machines, *containers, *machine, *container, *calls, *load); err != nil {
		fmt.Fprintln(os.Stderr, "crilatency:", err)
		os.Exit(1)
	}
}

func run(router, machines, containers, machine, container string, calls, load int) error {
	routed, err := connect(router)
	if err != nil {
		return err
	}
	ours, err := connect(machines)
	if err != nil {
		return err
	}
	theirs, err := connect(containers)
	if err != nil {
		return err
	}
	both := []runtime.RuntimeServiceClient{theirs, ours}
	subjects := []subject{
		{"ListPodSandbox", listPods, both},
		{"ListContainers", listContainers, both},
		{"ContainerStatus of a machine", statusOf(machine), both[1:]},
		{"ContainerStatus of a container", statusOf(container), both[:1]},
		{"Version", version, both[:1]},
	}
	if load > 0 {
		return loadRouter(routed, subjects, load)
	}
	result := map[string]times{}
	for _, subject := range subjects {
		took, err := compare(routed, subject, calls)
		if err != nil {
			return fmt.Errorf("%s: %w", subject.name, err)
		}
		result[subject.name] = took
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

func connect(socket string) (runtime.RuntimeServiceClient, error) {
	connection, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", socket, err)
	}
	return runtime.NewRuntimeServiceClient(connection), nil
}

func listPods(ctx context.Context, client runtime.RuntimeServiceClient) error {
	_, err := client.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{})
	return err
}

func listContainers(ctx context.Context, client runtime.RuntimeServiceClient) error {
	_, err := client.ListContainers(ctx, &runtime.ListContainersRequest{})
	return err
}

func version(ctx context.Context, client runtime.RuntimeServiceClient) error {
	_, err := client.Version(ctx, &runtime.VersionRequest{Version: "v1"})
	return err
}

func statusOf(id string) call {
	return func(ctx context.Context, client runtime.RuntimeServiceClient) error {
		_, err := client.ContainerStatus(ctx, &runtime.ContainerStatusRequest{ContainerId: id})
		return err
	}
}

// compare takes turns, so that whatever else the machine does falls on both.
func compare(routed runtime.RuntimeServiceClient, subject subject, calls int) (times, error) {
	took := times{}
	for turn := -warmUpCalls; turn < calls; turn++ {
		through, err := timed(subject.make, routed)
		if err != nil {
			return took, err
		}
		past, err := timed(subject.make, subject.direct...)
		if err != nil {
			return took, err
		}
		if turn >= 0 {
			took.Routed = append(took.Routed, through)
			took.Direct = append(took.Direct, past)
		}
	}
	return took, nil
}

// timed asks all of them at once; in ms, until the last has answered.
func timed(make call, clients ...runtime.RuntimeServiceClient) (float64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	started := time.Now()
	errs := askAll(ctx, make, clients)
	took := float64(time.Since(started).Microseconds()) / 1000
	for _, err := range errs {
		if err != nil {
			return took, err
		}
	}
	return took, nil
}

func askAll(ctx context.Context, make call, clients []runtime.RuntimeServiceClient) []error {
	if len(clients) == 1 {
		return []error{make(ctx, clients[0])}
	}
	errs := [2]error{}
	var group sync.WaitGroup
	for index, client := range clients {
		group.Go(func() { errs[index] = make(ctx, client) })
	}
	group.Wait()
	return errs[:]
}

func loadRouter(routed runtime.RuntimeServiceClient, subjects []subject, calls int) error {
	var next atomic.Int64
	failed := make(chan error, loadLanes)
	var group sync.WaitGroup
	for range loadLanes {
		group.Go(func() {
			for turn := next.Add(1); turn <= int64(calls); turn = next.Add(1) {
				if _, err := timed(subjects[turn%int64(len(subjects))].make, routed); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(failed)
	return <-failed
}
