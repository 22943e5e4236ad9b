package main

import (
	"slices"
	"strings"
)

// part is a long run of at most half an hour.
type part struct {
	name  string
	what  string
	make  []string // arguments of make
	env   []string
	code  []string // paths (as git takes them) whose changes make the part due again
	tests string   // pattern of the end-to-end tests; "": the part is not one of them
	timed bool     // the tests check times, so they run alone
	all   []string // names under which a run is recorded
}

// product is the code that nearly all parts test, without its unit tests. The tracer is not: its parts name it.
var product = []string{
	"cmd", "pkg", "manifests", "go.mod", "test/devcluster", ":(exclude)cmd/osc-tracer", ":(exclude)pkg/trace", ":(exclude)test/devcluster/kernels",
	":(exclude)pkg/cli/trace.go", ":(exclude)pkg/cli/capture.go", ":(exclude)pkg/cli/collect.go", ":(exclude)pkg/cli/cp.go",
	":(exclude,glob)cmd/**/*_test.go", ":(exclude,glob)pkg/**/*_test.go", ":(exclude,glob)pkg/**/testdata/**",
	":(exclude)test/e2e/real_test.go", ":(exclude)test/e2e/capture_test.go", ":(exclude)test/e2e/soak_tracer_test.go",
}

// tracing are the tracer's code and its end-to-end tests.
var tracing = []string{
	"cmd/osc-tracer", "pkg/trace", "sidecar", "pkg/cli", "pkg/kube/exec", "pkg/sandbox", ":(glob)test/e2e/soak_tracer_test.go",
	":(exclude,glob)sidecar/**/*_test.go", ":(exclude,glob)pkg/**/*_test.go", ":(exclude,glob)pkg/**/testdata/**",
}

// bench is a part that test/bench runs. The files of other parts may change without making it due.
func bench(name, what string, args string, others ...string) part {
	code := append([]string{"test/bench", "test/load", "test/sample", "test/haproxy"}, product...)
	for _, file := range others {
		code = append(code, ":(exclude)test/bench/"+file)
	}
	return part{name: name, what: what, make: []string{"bench", "ARGS=" + args}, all: []string{name}, code: code}
}

// instantLists are golden lists of the instants at which commands are killed. Only the parts that kill depend on
// them.
const instantLists = "test/e2e/testdata/instants"

// listsWithPods are those of the kills with pods in the VM.
const listsWithPods = instantLists + "/*-with-pods.txt"

// killing is a part of end-to-end tests that kill commands or guards at listed instants.
func killing(name, what, run string) part {
	p := timed(e2e(name, what, run))
	p.code = append([]string{"test/e2e", ":(exclude,glob)" + listsWithPods}, product...)
	return p
}

// killingWithPods is a part of end-to-end tests that kill commands at listed instants, with pods in the VM.
func killingWithPods(name, what, run string) part {
	p := timed(e2e(name, what, run))
	p.code = append([]string{":(glob)test/e2e/*.go", ":(glob)" + listsWithPods}, product...)
	return p
}

// timed is a part of end-to-end tests that check times.
func timed(p part) part {
	p.timed = true
	return p
}

func e2e(name, what, run string, env ...string) part {
	return part{
		name: name, what: what, tests: run, all: []string{name}, env: env, code: append([]string{"test/e2e", ":(exclude)" + instantLists}, product...),
		make: []string{"e2e", "ARGS=-tags e2e,soak -v -timeout 40m -run '" + strings.ReplaceAll(run, "$", "$$") + "'"}, // make expands $
	}
}

// traced is a part of end-to-end tests of the tracer.
func traced(name, what, run string) part {
	p := timed(e2e(name, what, run))
	p.code = tracing
	return p
}

// join makes one part out of several of end-to-end tests, which then share a cluster.
func join(a, b part) part {
	j := e2e(a.name+"+"+b.name, a.what+"; "+b.what, a.tests+"|"+b.tests, slices.Concat(a.env, b.env)...)
	j.all = slices.Concat(a.all, b.all)
	return j
}

// parts are all parts of the soak, in the order in which they run.
var parts = []part{
	bench("traffic", "ten sessions in a row and a session in steps (5, 25, 100 %) under load: no request fails", "soak steps", "crash.go", "node.go", "outage.go"),
	bench("crash", "the sandbox's program is killed 20 times under load", "crash", "steps.go", "node.go", "outage.go"),
	bench("outage", "the API server and etcd are down while a session runs and ends", "outage", "steps.go", "crash.go", "node.go"),
	bench("node", "the sandbox's node dies", "node", "steps.go", "outage.go"),
	killing("kills", "commands killed before and after every request", "^(TestKilledBefore|TestASlowRollback|TestRollbackCompletes|TestASignalAt)"),
	killing("guard-kills", "guards killed before and after every request", "^(TestTheGuardKilled|TestSoakTheGuardKilled)"),
	killingWithPods("kills-with-pods-shift", "shift killed before and after every request, with pods in the VM", "^TestSoakKilled.*/^shift$"),
	killingWithPods("kills-with-pods-others", "weight, extend and rollback killed in the same way", "^TestSoakKilled.*/^(weight|extend|rollback)$"),
	e2e("clones", "every kind of workload cloned into the VM", "^TestClonesThatRun"),
	timed(e2e("thousand", "a thousand sessions and ten thousand Routes", "^TestSoakAThousand")),
	timed(e2e("tenant", "two tenants load the guard with 10,000 marked objects and 2,000 Routes that cannot be restored", "^TestSoakTwoTenants")),
	timed(e2e("drift", "the share at a router with the dynamic configuration manager, while the original is scaled and updated", "^TestSoakTheShareAtADynamicRouter$")),
	e2e("faults", "a thousand sessions while a fifth of all requests fails", "^TestFaults", "OSC_DEBUG_SESSIONS=1000"),
	e2e("races", "two users start a session at the same moment, 150 times", "^TestTwoUsersAt", "OSC_DEBUG_RACES=150"),
	e2e("versions", "sessions begun, continued and ended by an old and today's command and guard", "^TestSoakSessionsOfAnOldVersion"),
	e2e("clock", "a command whose clock is an hour off", "^TestSoakACommandWhoseClock"),
	traced("tracer", "50 starts recorded from birth, a program that ends, a volume that overflows, the full image", "^TestSoak(FromBirth|AProgramThatEnds|AVolumeThatOverflows|TheFullImage)$"),
	{name: "kernels", all: []string{"kernels"}, what: "the gadgets on the kernels of three Debian releases", make: []string{"kernels", "ARGS=-all"}, code: []string{"sidecar", "pkg/trace", "test/devcluster/kernels"}},
	{name: "stress", all: []string{"stress"}, what: "floods, short-lived threads, gadgets attached and detached a thousand times", make: []string{"stress"}, code: []string{"sidecar", "pkg/trace"}},
	{name: "routes", all: []string{"routes"}, what: "the properties of weights on 100,000 random Routes", make: []string{"unit"}, env: []string{"OSC_DEBUG_ROUTES=100000"}, code: []string{"pkg/route"}},
	{name: "fuzz", all: []string{"fuzz"}, what: "the journal's decoder and the restore, fuzzed for 10 min each", make: []string{"fuzz-journal"}, code: []string{"pkg/session/record"}},
	{name: "fuzz-trace", all: []string{"fuzz-trace"}, what: "frames, events, records and recordings of the tracer, fuzzed for 5 min each", make: []string{"fuzz-trace", "FUZZ=5m"}, code: []string{"pkg/trace", "sidecar"}},
	{name: "fuzz-clone", all: []string{"fuzz-clone"}, what: "labels and variables of clones, fuzzed for 10 min each", make: []string{"fuzz-clone"}, code: []string{"pkg/sandbox"}},
}
