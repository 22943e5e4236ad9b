package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/osc-debug/osc-debug/pkg/trace/frame"
)

// calls compares all system calls, one line each, with strace's.
func (b *bench) calls() error {
	if err := need("strace"); err != nil {
		return err
	}
	var untraced, ours, theirs []time.Duration
	lost := uint64(0)
	for range b.rounds {
		took, err := b.workUntraced("calls")
		if err != nil {
			return err
		}
		untraced = append(untraced, took)
		under, err := b.workTraced("calls", "slow", "--slower-than=0s")
		if err != nil {
			return err
		}
		if under.lost == 0 && under.delivered < callCount {
			return fmt.Errorf("gadget slow delivered %d calls of %d", under.delivered, callCount)
		}
		ours, lost = append(ours, under.took), lost+under.lost
		if took, err = b.workStraced("calls", callCount); err != nil {
			return err
		}
		theirs = append(theirs, took)
	}
	base, our, their := median(untraced), median(ours), median(theirs)
	b.judge(figure{What: "all calls of a program as JSON lines, compared with it untraced", Got: fmt.Sprintf("%.1fx", our/base), Target: "<= 3x", Met: our <= 3*base, Seconds: seconds(ours)})
	b.judge(figure{What: "events lost of those", Got: fmt.Sprint(lost), Target: "0", Met: lost == 0})
	b.judge(figure{What: "time that strace adds, compared with ours", Got: fmt.Sprintf("%.0fx", (their-base)/(our-base)), Target: ">= 20x", Met: their-base >= 20*(our-base), Seconds: seconds(theirs)})
	return nil
}

// workUntraced returns how long work takes without a tracer.
func (b *bench) workUntraced(work string) (time.Duration, error) {
	w, err := startWorker(work)
	if err != nil {
		return 0, err
	}
	return w.work()
}

// traced is what work under our tracer gave.
type traced struct {
	took, cpu       time.Duration // of the work, and of the tracer
	delivered, lost uint64        // events
}

// workTraced does work under a gadget.
func (b *bench) workTraced(work, gadget string, more ...string) (out traced, err error) {
	w, err := startWorker(work)
	if err != nil {
		return out, err
	}
	t, err := b.startTracer(gadget, more...)
	if err != nil {
		return out, err
	}
	if out.took, err = w.work(); err != nil {
		return out, err
	}
	if out.cpu, err = t.stop(); err != nil {
		return out, err
	}
	out.delivered, out.lost, err = t.ledger()
	return out, err
}

// workStraced returns how long work takes under strace, which must write at least as many lines as there are calls.
func (b *bench) workStraced(work string, least int) (time.Duration, error) {
	w, err := startWorker(work)
	if err != nil {
		return 0, err
	}
	t, err := b.startTool("attached", "strace", "-f", "-o", b.dir+"/strace", "-p", fmt.Sprint(w.Process.Pid))
	if err != nil {
		return 0, err
	}
	took, err := w.work()
	if err != nil {
		return 0, err
	}
	if err := t.Wait(); err != nil {
		return 0, err
	}
	t.out = b.dir + "/strace"
	if n, err := t.lines(""); err != nil || n < least {
		return 0, fmt.Errorf("strace wrote %d lines of %d: %w", n, least, err)
	}
	return took, nil
}

// histogram compares the latencies of all calls with a script of bpftrace that makes the same histograms.
func (b *bench) histogram() error {
	if err := need("bpftrace"); err != nil {
		return err
	}
	const script = `tracepoint:raw_syscalls:sys_enter /comm == "tracebench"/ { @begin[tid] = nsecs; }
tracepoint:raw_syscalls:sys_exit /@begin[tid]/ { @[args->id] = hist(nsecs - @begin[tid]); delete(@begin[tid]); }
BEGIN { printf("attached\n"); }`
	var untraced, ours, theirs []time.Duration
	for range b.rounds {
		took, err := b.workUntraced("calls")
		if err != nil {
			return err
		}
		untraced = append(untraced, took)
		under, err := b.workTraced("calls", "syscalls")
		if err != nil {
			return err
		}
		if under.delivered < callCount || under.lost > 0 {
			return fmt.Errorf("gadget syscalls counted %d calls of %d and lost %d", under.delivered, callCount, under.lost)
		}
		ours = append(ours, under.took)
		w, err := startWorker("calls")
		if err != nil {
			return err
		}
		t, err := b.startTool("attached", "bpftrace", "-e", script)
		if err != nil {
			return err
		}
		if took, err = w.work(); err != nil {
			return err
		}
		if _, err := t.stop(); err != nil {
			return err
		}
		if n, err := t.lines("@["); err != nil || n < 2 {
			return fmt.Errorf("bpftrace printed %d histograms: %w", n, err)
		}
		theirs = append(theirs, took)
	}
	base, our, their := median(untraced), median(ours), median(theirs)
	b.judge(figure{What: "time that gadget syscalls adds, compared with bpftrace", Got: fmt.Sprintf("%.2fx", (our-base)/(their-base)), Target: "<= 0.6x", Met: our-base <= 0.6*(their-base), Seconds: seconds(ours)})
	return nil
}

// opens compares the CPU time of an event of gadget open with that of opensnoop.
func (b *bench) opens() error {
	const opensnoop = "/usr/sbin/opensnoop"
	if err := need(opensnoop); err != nil {
		return err
	}
	var ours, theirs []time.Duration // of a million events
	lost, others := uint64(0), 0
	for range b.rounds {
		under, err := b.workTraced("opens", "open")
		if err != nil {
			return err
		}
		lost += under.lost
		ours = append(ours, under.cpu*1_000_000/time.Duration(max(1, under.delivered)))
		w, err := startWorker("opens")
		if err != nil {
			return err
		}
		t, err := b.startTool("PATH", opensnoop, "-n", "tracebench")
		if err != nil {
			return err
		}
		if _, err := w.work(); err != nil {
			return err
		}
		cpu, err := t.stop()
		if err != nil {
			return err
		}
		n, err := t.lines("/etc/hostname")
		if err != nil || n == 0 {
			return fmt.Errorf("opensnoop saw %d opens: %w", n, err)
		}
		others += openCount - n
		theirs = append(theirs, cpu*1_000_000/time.Duration(n))
	}
	b.judge(figure{What: fmt.Sprintf("CPU time of an event of gadget open (opensnoop: %.1f us, lost %d of %d)", median(theirs), others, b.rounds*openCount),
		Got: fmt.Sprintf("%.2fx, %.1f us", median(ours)/median(theirs), median(ours)), Target: "<= 0.5x", Met: median(ours) <= 0.5*median(theirs)})
	b.judge(figure{What: "events lost of gadget open", Got: fmt.Sprint(lost), Target: "0", Met: lost == 0})
	return nil
}

// recordings is how often the recorder is measured, 30 s each.
const recordings = 3

// record measures how many calls a second the recorder keeps of a program that makes as many as it can.
func (b *bench) record() error {
	untraced, err := b.workUntraced("calls")
	if err != nil {
		return err
	}
	var rates []float64
	var cpu []time.Duration // of a million records
	lost, memory := uint64(0), 0
	for range recordings {
		dir, err := os.MkdirTemp(b.dir, "recording-")
		if err != nil {
			return err
		}
		w, err := startWorker("calls for a time")
		if err != nil {
			return err
		}
		recorder := exec.Command(b.tracer(), "record", "--supervised", "--gadgets=slow", "--slower-than=0s", "--dir="+dir)
		if err := recorder.Start(); err != nil {
			return err
		}
		if err := exec.Command(b.tracer(), "ready", "--dir="+dir).Run(); err != nil {
			return err
		}
		resident := make(chan int, 1)
		measure := time.AfterFunc(recordFor/2, func() { resident <- residentMiB(recorder.Process.Pid) })
		took, err := w.work()
		if err != nil || measure.Stop() {
			return errors.Join(err, fmt.Errorf("the program ended after %s", took), recorder.Process.Kill(), recorder.Wait())
		}
		memory = max(memory, <-resident)
		if err := errors.Join(recorder.Process.Signal(syscall.SIGTERM), recorder.Wait()); err != nil {
			return err
		}
		text, err := os.ReadFile(dir + "/status.json")
		if err != nil {
			return err
		}
		var state frame.State
		if err := json.Unmarshal(text, &state); err != nil {
			return err
		}
		l := state.Ledgers["slow"]
		if !l.Balanced() || l.Delivered == 0 || state.Failed != "" || state.Late {
			return fmt.Errorf("the recorder's ledger: %s; %s", l, text)
		}
		lost += l.LostKernel + l.Dropped + l.Missed
		used := recorder.ProcessState
		cpu = append(cpu, (used.UserTime()+used.SystemTime())*1_000_000/time.Duration(l.Delivered))
		rates = append(rates, float64(l.Delivered)/took.Seconds())
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	slices.Sort(rates)
	rate := rates[len(rates)/2]
	b.judge(figure{What: fmt.Sprintf("calls that the recorder keeps, %s (untraced: %.2f million/s; CPU time of a record: %.2f us)", recordFor, callCount/untraced.Seconds()/1e6, median(cpu)), Got: fmt.Sprintf("%.2f million/s", rate/1e6), Target: ">= 1 million/s", Met: rate >= 1e6})
	b.judge(figure{What: "records lost of those", Got: fmt.Sprint(lost), Target: "0", Met: lost == 0})
	b.judge(figure{What: "memory of the recorder meanwhile", Got: fmt.Sprintf("%d MiB", memory), Target: "<= 48 MiB", Met: memory <= 48})
	return nil
}

// attachments is how often all gadgets are attached for a percentile.
const attachments = 40

// attach measures how long it takes to attach all gadgets and to stop them, and what the tracer's memory is.
func (b *bench) attach() error {
	w, err := startWorker("calls")
	if err != nil {
		return err
	}
	defer w.work() //nolint:errcheck // it has nothing to do with the figures
	var starts, stops []time.Duration
	memory := 0
	for range attachments {
		begin := time.Now()
		t, err := b.startTracer("open,tcp,exec,exit,signal,oom,syscalls,slow")
		if err != nil {
			return err
		}
		starts = append(starts, time.Since(begin))
		time.Sleep(100 * time.Millisecond)
		memory = max(memory, residentMiB(t.Process.Pid))
		begin = time.Now()
		if _, err := t.stop(); err != nil {
			return err
		}
		stops = append(stops, time.Since(begin))
	}
	p95 := func(times []time.Duration) time.Duration {
		return slices.Sorted(slices.Values(times))[len(times)*95/100]
	}
	b.judge(figure{What: "all gadgets attached (95th percentile)", Got: p95(starts).Round(time.Millisecond).String(), Target: "<= 250ms", Met: p95(starts) <= 250*time.Millisecond, Seconds: seconds(starts)})
	b.judge(figure{What: "all gadgets stopped (95th percentile)", Got: p95(stops).Round(time.Millisecond).String(), Target: "<= 50ms", Met: p95(stops) <= 50*time.Millisecond, Seconds: seconds(stops)})
	b.judge(figure{What: "memory of the tracer with all gadgets", Got: fmt.Sprintf("%d MiB", memory), Target: "<= 15 MiB", Met: memory <= 15})
	return nil
}

// residentMiB returns how much memory a process has of its own, in MiB.
func residentMiB(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	var kib int
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &kib); err == nil {
			return kib >> 10
		}
	}
	return 0
}
