package router

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
)

// dynamic is the dynamic configuration manager. Where only endpoints have changed since the last reload, it
// adds and removes servers of the running HAProxy (3.0 or later) instead of reloading it. A new server gets the
// weight that a reload would give it, and the other servers keep theirs, as with OpenShift's router. So the
// shares of a Route can drift until the next reload.
type dynamic struct {
	socket  string
	running map[string]*running // by backend
}

// running is a backend as the running HAProxy has it.
type running struct {
	route   string // what else than endpoints it is made of; any change of that needs a reload
	servers map[string]bool
}

// newRunning returns a backend as HAProxy has it after a reload.
func newRunning(b backend) (*running, error) {
	text, err := json.Marshal([]any{b.route.Spec, b.route.Annotations})
	if err != nil {
		return nil, err
	}
	r := &running{route: string(text), servers: map[string]bool{}}
	for _, s := range b.servedServices() {
		for _, srv := range s.servers {
			r.servers[srv.id] = true
		}
	}
	return r, nil
}

// reloaded notes what a reload made of the backends.
func (d *dynamic) reloaded(backends []backend) error {
	d.running = map[string]*running{}
	for _, b := range backends {
		r, err := newRunning(b)
		if err != nil {
			return err
		}
		d.running[prefix(b.route)+b.key()] = r
	}
	return nil
}

// needsReload reports whether anything but endpoints has changed since the last reload.
func (d *dynamic) needsReload(backends []backend) (bool, error) {
	if d.running == nil || len(backends) != len(d.running) {
		return true, nil
	}
	for _, b := range backends {
		now, err := newRunning(b)
		if err != nil {
			return true, err
		}
		if was := d.running[prefix(b.route)+b.key()]; was == nil || was.route != now.route {
			return true, nil
		}
	}
	return false, nil
}

// apply adds and removes servers of the running process. After an error, HAProxy has to be reloaded.
func (d *dynamic) apply(w writer, backends []backend) error {
	for _, b := range backends {
		name := prefix(b.route) + b.key()
		r, gone := d.running[name], maps.Clone(d.running[name].servers)
		_, servers := b.active()
		weights := serverWeights(b.services)
		for _, s := range b.servedServices() {
			for _, srv := range s.servers {
				delete(gone, srv.id)
				if r.servers[srv.id] {
					continue
				}
				if err := d.add(name, srv, weights[s.name], w.tls(b.route, s.name), servers > 1); err != nil {
					return err
				}
				r.servers[srv.id] = true
			}
		}
		for id := range gone {
			if err := d.remove(name + "/" + id); err != nil {
				return err
			}
			delete(r.servers, id)
		}
	}
	return nil
}

// add adds a server, or enables one that could not be removed because it still had connections.
func (d *dynamic) add(backend string, srv server, weight int32, tls string, check bool) error {
	name, options := backend+"/"+srv.id, fmt.Sprintf("weight %d%s", weight, tls)
	if check {
		options += " check inter 5000ms"
	}
	answer, err := ask(d.socket, fmt.Sprintf("add server %s %s:%d %s", name, srv.ip, srv.port, options))
	switch {
	case err != nil:
		return err
	case strings.Contains(answer, "New server registered"):
	case strings.Contains(answer, "Already exists"):
		if err := d.tell(fmt.Sprintf("set server %s weight %d", name, weight)); err != nil {
			return err
		}
	default:
		return fmt.Errorf("add server %s: %s", name, answer)
	}
	if check {
		if err := d.tell("enable health " + name); err != nil {
			return err
		}
	}
	return d.tell("set server " + name + " state ready")
}

// remove takes a server out of use, and deletes it unless it still has connections.
func (d *dynamic) remove(name string) error {
	if err := d.tell("set server " + name + " state maint"); err != nil {
		return err
	}
	_, err := ask(d.socket, "del server "+name)
	return err
}

// tell sends a command that answers nothing.
func (d *dynamic) tell(command string) error {
	answer, err := ask(d.socket, command)
	if err == nil && strings.TrimSpace(answer) != "" {
		err = fmt.Errorf("%s: %s", command, strings.TrimSpace(answer))
	}
	return err
}
