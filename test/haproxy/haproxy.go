// Package haproxy reads weights from the stats socket of the development router's HAProxy, so that
// tests judge shares by what HAProxy does and not by what the router configured.
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

// Server is one server of an HAProxy backend.
type Server struct {
	Name   string // pod:POD:SERVICE:PORT:IP:NUMBER
	Weight int    // 0..256, as configured
}

// Pod returns the name of the server's pod, "" if the endpoint has no pod.
func (s Server) Pod() string {
	if parts := strings.Split(s.Name, ":"); parts[0] == "pod" && len(parts) > 1 {
		return parts[1]
	}
	return ""
}

// Servers returns the servers of a Route's backend in the HAProxy of a running cluster, whose folder
// is state. It ignores the backend's prefix for the kind of TLS. There are no servers before HAProxy
// serves the backend.
func Servers(state, namespace, route string) ([]Server, error) {
	conn, err := net.DialTimeout("unix", filepath.Join(state, "router", "haproxy.sock"), time.Second)
	if err != nil {
		return nil, fmt.Errorf("HAProxy stats socket: %w", err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := conn.Write([]byte("show stat -1 4 -1\n")); err != nil { // type 4: servers
		return nil, fmt.Errorf("HAProxy stats socket: %w", err)
	}
	rows, err := csv.NewReader(conn).ReadAll()
	if err != nil || len(rows) == 0 {
		return nil, fmt.Errorf("HAProxy statistics: %d rows: %w", len(rows), err)
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
			return nil, fmt.Errorf("HAProxy statistics: weight of %s: %w", row[column["svname"]], err)
		}
		servers = append(servers, Server{Name: row[column["svname"]], Weight: weight})
	}
	return servers, nil
}

// Share returns the share of new clients, 0..1, that the weights give to the servers of pods whose
// name begins with prefix.
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
