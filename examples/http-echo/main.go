// Command http-echo is the example application: it answers every request with its
// text, the pod it runs in and the kernel it runs on, so that one sees which side of
// a Route answered.
package main

import (
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	text := flag.String("text", "hello", "what to answer")
	listen := flag.String("listen", ":8080", "address to listen on")
	status := flag.Int("status", http.StatusOK, "HTTP status of every answer")
	certFile := flag.String("tls-cert", "", "serve TLS with this certificate")
	keyFile := flag.String("tls-key", "", "key of --tls-cert")
	flag.Parse()

	host, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		// Read at each request: a file open that a tracer can show.
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
