// Package capture captures the packets of this network namespace with packet sockets (AF_PACKET). It needs neither eBPF
// nor the kernel's types, so it works on kernels on which no gadget does.
package capture

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/osc-debug/osc-debug/pkg/trace/pcapng"
)

// Options say what to capture.
type Options struct {
	Interfaces []string // names; none: all that are up
	Snaplen    int      // most bytes that are kept of a packet
	Filter     string   // in tcpdump's language, "" for all packets
}

// bufferSize is how much of the file is written at once, in bytes.
const bufferSize = 64 << 10

// Run writes packets to out in the pcapng format until the context ends. It calls started with the interfaces when it captures,
// and returns what was counted at each. Each packet that was seen is either in the file or counted as dropped.
func Run(ctx context.Context, o Options, out io.Writer, started func(interfaces []string)) (counted map[string]pcapng.Statistics, err error) {
	interfaces, err := choose(o.Interfaces)
	if err != nil {
		return nil, err
	}
	c := &capturer{interfaces: interfaces, buffer: bufio.NewWriterSize(out, bufferSize)}
	defer func() { err = errors.Join(err, c.close()) }()
	if c.writer, err = pcapng.NewWriter(c.buffer, "osc-debug"); err != nil {
		return nil, err
	}
	for index, i := range interfaces {
		filter, err := compile(ctx, i.Name, o.Snaplen, o.Filter)
		if err != nil {
			return nil, err
		}
		if err := c.writer.AddInterface(pcapng.Interface{Name: i.Name, Filter: o.Filter, Snaplen: uint32(o.Snaplen)}); err != nil {
			return nil, err
		}
		r, err := openRing(index, i, filter)
		if err != nil {
			return nil, err
		}
		c.rings = append(c.rings, r)
	}
	if err := c.buffer.Flush(); err != nil { // who reads learns at once that the capture runs
		return nil, err
	}
	started(c.names())
	for ctx.Err() == nil {
		if err := c.readAll(); err != nil {
			return nil, err
		}
	}
	return c.finish()
}

// ethernetAddress is how long an address of Ethernet is, in bytes.
const ethernetAddress = 6

// choose returns the interfaces with these names, or all that are up and have Ethernet's frames.
func choose(names []string) (out []net.Interface, err error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var known []string
	for _, i := range all {
		hasFrames := i.Flags&net.FlagLoopback != 0 || len(i.HardwareAddr) == ethernetAddress
		if !hasFrames {
			continue
		}
		known = append(known, i.Name)
		if slices.Contains(names, i.Name) || len(names) == 0 && i.Flags&net.FlagUp != 0 {
			out = append(out, i)
		}
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("no interface %q with Ethernet frames: there are %v", name, known)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no interface is up: there are %v", known)
	}
	return out, nil
}

// capturer is a capture at work. One goroutine uses it.
type capturer struct {
	interfaces []net.Interface
	rings      []*ring
	buffer     *bufio.Writer
	writer     *pcapng.Writer
}

func (c *capturer) names() (out []string) {
	for _, i := range c.interfaces {
		out = append(out, i.Name)
	}
	return out
}

// readAll waits until a block is ready, for blockTimeout at most, and writes the packets of all that are.
func (c *capturer) readAll() error {
	var waiting []unix.PollFd
	for _, r := range c.rings {
		waiting = append(waiting, unix.PollFd{Fd: int32(r.socket), Events: unix.POLLIN})
	}
	if _, err := unix.Poll(waiting, int(blockTimeout.Milliseconds())); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait for packets: %w", err)
	}
	for n, r := range c.rings {
		if waiting[n].Revents&unix.POLLERR != 0 { // the interface is down: reading the error clears it
			if _, err := unix.GetsockoptInt(r.socket, unix.SOL_SOCKET, unix.SO_ERROR); err != nil {
				return fmt.Errorf("interface %s: %w", c.interfaces[n].Name, err)
			}
		}
		for more := true; more; {
			var err error
			if more, err = r.read(c.writer.WritePacket); err != nil {
				return err
			}
		}
	}
	return c.buffer.Flush()
}

// finish lets no more packets in, writes those that the kernel has not handed over yet, and then what was counted.
func (c *capturer) finish() (map[string]pcapng.Statistics, error) {
	for _, r := range c.rings {
		if err := r.setFilter(acceptAll(0)); err != nil {
			return nil, err
		}
	}
	for end := time.Now().Add(3 * blockTimeout); time.Now().Before(end); {
		if err := c.readAll(); err != nil {
			return nil, err
		}
	}
	counted := map[string]pcapng.Statistics{}
	for n, r := range c.rings {
		s, err := r.statistics()
		if err != nil {
			return nil, err
		}
		counted[c.interfaces[n].Name] = s
		if err := c.writer.WriteStatistics(n, time.Now(), s); err != nil {
			return nil, err
		}
	}
	return counted, c.buffer.Flush()
}

func (c *capturer) close() (failed error) {
	for _, r := range c.rings {
		failed = errors.Join(failed, r.close())
	}
	return failed
}
