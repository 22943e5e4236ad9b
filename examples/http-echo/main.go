// Command http-echo is the example application. It answers every request with a text, its pod and its
// kernel's version, so that the answer shows which of a Route's backends sent it.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	text := flag.String("text", "hello", "text of every answer")
	listen := flag.String("listen", ":8080", "address to listen on")
	status := flag.Int("status", http.StatusOK, "HTTP status of every answer")
	certFile := flag.String("tls-cert", "", "serve TLS with this certificate")
	keyFile := flag.String("tls-key", "", "key of --tls-cert")
	register := flag.String("register", "", "host and port to connect to first, as a program that registers itself")
	flag.Parse()

	if *register != "" {
		if c, err := net.Dial("tcp", *register); err == nil {
			c.Close()
		}
	}

	host, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		// Read for each request, so that a tracer can show the file being opened.
		kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(*status)
		fmt.Fprintf(w, "%s pod=%s kernel=%s\n", *text, host, strings.TrimSpace(string(kernel)))
	})
	server := &http.Server{Addr: *listen, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	if *certFile != "" {
		log.Fatal(server.ListenAndServeTLS(*certFile, *keyFile))
	}
	log.Fatal(server.ListenAndServe())
}
