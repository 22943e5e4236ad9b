// Package haproxy reads what the development router's HAProxy really does from its own
// stats socket, so that shares are judged by the proxy and not by who configured it.
package haproxy

import (
	"encoding/csv"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Server is one server of a backend, as HAProxy has it.
type Server struct {
	Name   string // pod:POD:SERVICE:PORT:IP:NUMBER
	Weight int    // 0..256, as configured
}

// Pod is the pod behind a server, "" when the endpoint names none.
func (s Server) Pod() string {
	if parts := strings.Split(s.Name, ":"); parts[0] == "pod" && len(parts) > 1 {
		return parts[1]
	}
	return ""
}

// Servers asks the HAProxy of a running cluster, whose folder is state, for the servers
// of a Route's backend; the prefix that names the kind of TLS does not matter. There
// are none while the backend is not served yet.
func Servers(state, namespace, route string) ([]Server, error) {
	conn, err := net.DialTimeout("unix", filepath.Join(state, "router", "haproxy.sock"), time.Second)
	if err != nil {
		return nil, fmt.Errorf("HAProxy's stats socket: %w", err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := conn.Write([]byte("show stat -1 4 -1\n")); err != nil { // type 4: servers
		return nil, fmt.Errorf("HAProxy's stats socket: %w", err)
	}
	rows, err := csv.NewReader(conn).ReadAll()
	if err != nil || len(rows) == 0 {
		return nil, fmt.Errorf("HAProxy's statistics: %d rows: %w", len(rows), err)
	}
	column := map[string]int{}
	for i, name := range rows[0] {
		column[strings.TrimPrefix(name, "# ")] = i
	}
	var servers []Server
	for _, row := range rows[1:] {
		if !strings.HasSuffix(row[column["pxname"]], ":"+namespace+":"+route) {
			continue
		}
		weight, err := strconv.Atoi(row[column["uweight"]])
		if err != nil {
			return nil, fmt.Errorf("HAProxy's statistics: weight of %s: %w", row[column["svname"]], err)
		}
		servers = append(servers, Server{Name: row[column["svname"]], Weight: weight})
	}
	return servers, nil
}

// Share is the part, 0..1, of new clients that the servers of pods whose name begins
// with prefix get, by the weights alone.
func Share(servers []Server, prefix string) float64 {
	part, all := 0, 0
	for _, s := range servers {
		all += s.Weight
		if strings.HasPrefix(s.Pod(), prefix) {
			part += s.Weight
		}
	}
	if all == 0 {
		return 0
	}
	return float64(part) / float64(all)
}
