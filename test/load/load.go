// Package load generates a steady HTTP load. It manages its own sockets and retries nothing
// silently, so it counts every request that a user would have lost. Half of its clients keep their
// connection, the others open one for each request; half keep the router's cookie, the others do
// not.
package load

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Config says where requests go and which responses are correct.
type Config struct {
	Address string // HOST:PORT to connect to
	Host    string // Host header and TLS server name
	Path    string
	TLS     bool
	Rate    int // requests per second of all clients together
	// Cookies and KeepAlive say, if set, whether all clients or none keep cookies and connections.
	Cookies, KeepAlive *bool
	// Right says whether a response is correct.
	Right func(status int, body string) bool
}

// Sums count responses. A request is OK, Failed, or Stale: it was sent on a reused idle connection
// that was closed before the first byte of a response.
type Sums struct {
	OK, Stale, Failed int
	Bodies            map[string]int // number of correct responses by body
	Reasons           map[string]int // number of failed requests by reason
}

// Total returns the number of requests.
func (s Sums) Total() int { return s.OK + s.Stale + s.Failed }

// Plus returns the sum of two counts.
func (s Sums) Plus(other Sums) Sums {
	out := Sums{OK: s.OK + other.OK, Stale: s.Stale + other.Stale, Failed: s.Failed + other.Failed, Bodies: maps.Clone(s.Bodies), Reasons: maps.Clone(s.Reasons)}
	for k, n := range other.Bodies {
		out.Bodies[k] += n
	}
	for k, n := range other.Reasons {
		out.Reasons[k] += n
	}
	return out
}

// Since returns the difference to an earlier count.
func (s Sums) Since(earlier Sums) Sums {
	out := Sums{OK: s.OK - earlier.OK, Stale: s.Stale - earlier.Stale, Failed: s.Failed - earlier.Failed, Bodies: map[string]int{}, Reasons: map[string]int{}}
	for k, n := range s.Bodies {
		if d := n - earlier.Bodies[k]; d > 0 {
			out.Bodies[k] = d
		}
	}
	for k, n := range s.Reasons {
		if d := n - earlier.Reasons[k]; d > 0 {
			out.Reasons[k] = d
		}
	}
	return out
}

// String formats the sums in one line.
func (s Sums) String() string {
	out := fmt.Sprintf("%d requests: %d correct, %d stale, %d failed", s.Total(), s.OK, s.Stale, s.Failed)
	for reason, n := range s.Reasons {
		out += fmt.Sprintf("; %d × %s", n, reason)
	}
	return out
}

// perClient is how many requests one client sends per second.
const perClient = 5

// timeout bounds one request.
const timeout = 25 * time.Second

// Run is a running load.
type Run struct {
	config Config
	cancel context.CancelFunc
	done   sync.WaitGroup
	begin  time.Time
	mu     sync.Mutex
	sums   Sums
}

// Start starts a load, which runs until Stop.
func Start(config Config) *Run {
	ctx, cancel := context.WithCancel(context.Background())
	r := &Run{config: config, cancel: cancel, begin: time.Now(), sums: Sums{Bodies: map[string]int{}, Reasons: map[string]int{}}}
	clients := max(config.Rate/perClient, 4)
	every := time.Duration(clients) * time.Second / time.Duration(config.Rate)
	for n := range clients {
		c := &client{config: config, keep: n%2 == 0, sticky: n/2%2 == 0}
		if config.KeepAlive != nil {
			c.keep = *config.KeepAlive
		}
		if config.Cookies != nil {
			c.sticky = *config.Cookies
		}
		c.tls = &tls.Config{ServerName: config.Host, InsecureSkipVerify: true, // the router's certificate is the cluster's own
			ClientSessionCache: tls.NewLRUClientSessionCache(1)} // browsers also resume sessions
		r.done.Go(func() { r.client(ctx, c, every, every*time.Duration(n)/time.Duration(clients)) })
	}
	return r
}

// Stop ends the load after its current requests and returns the final counts.
func (r *Run) Stop() Sums {
	r.cancel()
	r.done.Wait()
	return r.Sums()
}

// Sums returns the counts so far.
func (r *Run) Sums() Sums {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sums.Since(Sums{})
}

// Rate returns the number of requests per second since the start.
func (r *Run) Rate() float64 { return float64(r.Sums().Total()) / time.Since(r.begin).Seconds() }

// client sends c's requests, the first after a delay, until the context ends.
func (r *Run) client(ctx context.Context, c *client, every, first time.Duration) {
	defer c.close()
	select {
	case <-ctx.Done():
		return
	case <-time.After(first):
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		r.count(c.request())
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (r *Run) count(body string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		r.sums.OK++
		r.sums.Bodies[body]++
	case errors.Is(err, errStale):
		r.sums.Stale++
	default:
		r.sums.Failed++
		r.sums.Reasons[err.Error()]++
	}
}

// errStale is the error of a request that counts as Sums.Stale.
var errStale = errors.New("stale")

// client is one simulated user.
type client struct {
	config       Config
	tls          *tls.Config
	keep, sticky bool
	conn         net.Conn
	reader       *bufio.Reader
	cookie       string
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// request sends one request and returns the body of its response.
func (c *client) request() (string, error) {
	reused := c.conn != nil
	if !reused {
		if err := c.dial(); err != nil {
			return "", fmt.Errorf("connect: %w", kind(err))
		}
	}
	_ = c.conn.SetDeadline(time.Now().Add(timeout))
	body, err := c.exchange(reused)
	if err != nil || !c.keep {
		c.close()
	}
	return body, err
}

func (c *client) dial() error {
	conn, err := net.DialTimeout("tcp", c.config.Address, timeout)
	if err != nil {
		return err
	}
	if c.config.TLS {
		secure := tls.Client(conn, c.tls)
		_ = conn.SetDeadline(time.Now().Add(timeout))
		if err := secure.Handshake(); err != nil {
			conn.Close()
			return err
		}
		conn = secure
	}
	c.conn, c.reader = conn, bufio.NewReader(conn)
	return nil
}

func (c *client) exchange(reused bool) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\n", c.config.Path, c.config.Host)
	if c.sticky && c.cookie != "" {
		fmt.Fprintf(&b, "Cookie: %s\r\n", c.cookie)
	}
	if !c.keep {
		b.WriteString("Connection: close\r\n")
	}
	b.WriteString("\r\n")
	if _, err := io.WriteString(c.conn, b.String()); err != nil {
		if reused {
			return "", errStale
		}
		return "", fmt.Errorf("write: %w", kind(err))
	}
	if _, err := c.reader.Peek(1); err != nil {
		var slow net.Error
		if reused && !(errors.As(err, &slow) && slow.Timeout()) {
			return "", errStale
		}
		return "", fmt.Errorf("no response: %w", kind(err))
	}
	resp, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return "", fmt.Errorf("read the response: %w", kind(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("read the body: %w", kind(err))
	}
	if !c.config.Right(resp.StatusCode, string(body)) {
		return "", fmt.Errorf("status %d", resp.StatusCode)
	}
	for _, cookie := range resp.Cookies() {
		c.cookie = cookie.Name + "=" + cookie.Value
	}
	if resp.Close {
		c.close()
	}
	return strings.TrimSpace(string(body)), nil
}

// kind strips addresses and ports from an error, so that equal errors can be counted.
func kind(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
