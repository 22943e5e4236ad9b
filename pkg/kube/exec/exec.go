// Package exec runs commands in containers over WebSockets, or over SPDY with old API servers. Data
// leaves a sandbox only this way: a hostPath volume would be a folder of the node, and port-forward
// does not reach into Kata VMs.
package exec

import (
	"context"
	"errors"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
)

// Client runs commands in containers.
type Client struct {
	Config *rest.Config // for the connections
	Core   kubernetes.Interface
}

// Stream runs a command in a container and returns when it ends. The error is nil for exit code 0,
// and a util/exec.CodeExitError for another exit code. If a Limited gets more than its limit, the stream ends
// with ErrTooMuch.
func (c Client) Stream(ctx context.Context, namespace, pod, container string, command []string, streams remotecommand.StreamOptions) error {
	url := c.Core.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: container, Command: command,
			Stdin: streams.Stdin != nil, Stdout: streams.Stdout != nil, Stderr: streams.Stderr != nil, TTY: streams.Tty,
		}, scheme.ParameterCodec).URL()
	spdy, err := remotecommand.NewSPDYExecutor(c.Config, "POST", url)
	if err != nil {
		return fmt.Errorf("exec in pod %s: %w", pod, err)
	}
	websocket, err := remotecommand.NewWebSocketExecutor(c.Config, "GET", url.String())
	if err != nil {
		return fmt.Errorf("exec in pod %s: %w", pod, err)
	}
	executor, err := remotecommand.NewFallbackExecutor(websocket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return fmt.Errorf("exec in pod %s: %w", pod, err)
	}
	limited, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for _, w := range []io.Writer{streams.Stdout, streams.Stderr} {
		if l, ok := w.(*Limited); ok {
			l.exceeded = cancel
		}
	}
	err = executor.StreamWithContext(limited, streams)
	if cause := context.Cause(limited); errors.Is(cause, ErrTooMuch) {
		return fmt.Errorf("exec in pod %s: %w", pod, cause)
	}
	return err
}
