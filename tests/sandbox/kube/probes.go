package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// hasProbe tells whether it is a probe that this node does. Others count as successful.
func (c *container) hasProbe(probe *v1.Probe) bool {
	return probe != nil && probe.HTTPGet != nil
}

// startProbes begins with the process's probes, and gives what ends them.
func (c *container) startProbes(process *process) (stop func()) {
	ctx, cancel := context.WithCancel(c.pod.ended)
	if c.hasProbe(c.ReadinessProbe) {
		go c.probe(ctx, "Readiness", c.ReadinessProbe, func(success bool) {
			c.change(func(s *v1.ContainerStatus) {
				// Not for a process that has ended meanwhile.
				s.Ready = success && ctx.Err() == nil
			})
		})
	}
	if c.hasProbe(c.LivenessProbe) {
		go c.probe(ctx, "Liveness", c.LivenessProbe, func(success bool) {
			if !success {
				cancel()
				process.restart()
			}
		})
	}
	return cancel
}

// probe calls report with each result that reached its threshold.
func (c *container) probe(ctx context.Context, kind string, probe *v1.Probe, report func(success bool)) {
	client := c.probeClient(probe)
	seconds := func(n int32) time.Duration { return time.Duration(n) * time.Second }
	sleep(ctx, seconds(probe.InitialDelaySeconds))
	var successes, failures int32
	for ctx.Err() == nil {
		err := c.get(ctx, client, probe.HTTPGet)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			successes, failures = successes+1, 0
		default:
			successes, failures = 0, failures+1
			c.event(v1.EventTypeWarning, "Unhealthy", "%s probe failed: %v", kind, err)
		}
		switch {
		case successes == max(probe.SuccessThreshold, 1):
			report(true)
		case failures == max(probe.FailureThreshold, 1):
			report(false)
		}
		sleep(ctx, seconds(max(probe.PeriodSeconds, 1)))
	}
}

func (c *container) probeClient(probe *v1.Probe) *http.Client {
	return &http.Client{
		Timeout: time.Duration(max(probe.TimeoutSeconds, 1)) * time.Second,
		Transport: &http.Transport{
			DialContext:       c.pod.network.dial,
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		},
	}
}

func (c *container) get(ctx context.Context, client *http.Client, action *v1.HTTPGetAction) error {
	host := action.Host
	if host == "" {
		host = c.pod.ip
	}
	address := net.JoinHostPort(host, strconv.Itoa(c.portNumber(action.Port)))
	url := fmt.Sprintf("%s://%s/%s", strings.ToLower(string(action.Scheme)), address, strings.TrimPrefix(action.Path, "/"))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "kube-probe/1.36")
	for _, header := range action.HTTPHeaders {
		request.Header.Add(header.Name, header.Value)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	io.Copy(io.Discard, io.LimitReader(response.Body, 10<<10))
	if response.StatusCode < 200 || response.StatusCode >= 400 {
		return fmt.Errorf("HTTP probe failed with statuscode: %d", response.StatusCode)
	}
	return nil
}

func (c *container) portNumber(port intstr.IntOrString) int {
	if port.Type == intstr.Int {
		return port.IntValue()
	}
	for _, named := range c.Ports {
		if named.Name == port.StrVal {
			return int(named.ContainerPort)
		}
	}
	return port.IntValue()
}
