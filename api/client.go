package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"
)

// answerLimit bounds what a client reads of one answer: a full history of a large cluster is far below it.
const answerLimit = 16 << 20

// dialTimeout is how long a unix socket may take to accept; a peer's dial brings its own limit.
const dialTimeout = 5 * time.Second

// Client asks an agent. It implements Backend, so that an agent forwards to the leader by calling the same methods.
// Every error is an *Error.
type Client struct {
	http *http.Client
	name string // who is asked, for sentences
	here bool   // it is this host's agent, at a socket
}

var _ Backend = (*Client)(nil)

// NewClient asks the agent of this host through its unix socket.
func NewClient(socket string) *Client {
	dialer := net.Dialer{Timeout: dialTimeout}
	c := NewClientFunc("the daemon at "+socket, func(ctx context.Context) (net.Conn, error) {
		return dialer.DialContext(ctx, "unix", socket)
	})
	c.here = true
	return c
}

// NewClientFunc asks the agent that dial reaches; name is what errors call it.
func NewClientFunc(name string, dial func(ctx context.Context) (net.Conn, error)) *Client {
	return &Client{
		name: name,
		http: &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
			// Each request has a connection of its own. One that was kept may belong to a host that has lost its power or
			// slept since: the next request would end with a reset, and must not be sent twice.
			DisableKeepAlives: true,
		}},
	}
}

// ask sends one request and reads the answer into out. tried says for errors what was wanted: "move web to alpha".
func (c *Client) ask(ctx context.Context, path, tried string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return Invalid("cannot "+tried+": "+err.Error(), "")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://nightporter"+prefix+path, bytes.NewReader(body))
	if err != nil {
		return &Error{CodeInternal, "cannot " + tried + ": " + err.Error(), ""}
	}
	req.Header.Set("Content-Type", "application/json")
	// Most operations change something: none is ever sent twice on its own.
	req.GetBody = nil
	resp, err := c.http.Do(req)
	if err != nil {
		return c.failed(path, tried, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit))
	if err != nil {
		return c.failed(path, tried, err)
	}
	if resp.StatusCode != http.StatusOK {
		return answerError(tried, c.name, answer)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return &Error{CodeVersion, fmt.Sprintf("cannot %s: the answer of %s makes no sense: %v", tried, c.name, err), "compare `nightporter version` on both sides"}
	}
	return nil
}

// answerError reads an error that the daemon sent.
func answerError(tried, name string, answer []byte) error {
	var e Error
	if err := json.Unmarshal(answer, &e); err != nil || e.Code == "" {
		return &Error{CodeVersion, fmt.Sprintf("cannot %s: %s does not speak nightporter's protocol", tried, name), "check --socket"}
	}
	return &e
}

// questions are the operations that change nothing: of one that was not answered nothing can have been carried out.
var questions = map[string]bool{
	"status": true, "members": true, "services": true, "version": true, "history": true, "history-of": true, "events": true, "watch": true, "explain": true,
	"why": true, "wakes": true, "report": true, "backup": true, "doctor": true, "restorable": true,
}

// failed turns a failure to get any answer into a sentence.
func (c *Client) failed(path, tried string, err error) error {
	var timeout interface{ Timeout() bool }
	start := "start it there with `systemctl start nightporter`"
	if c.here {
		start = "start it with `systemctl start nightporter` (`journalctl -u nightporter` tells why it ended), or name another socket with --socket"
	}
	if errors.Is(err, context.Canceled) && questions[path] {
		return &Error{CodeTimeout, "stopped waiting while trying to " + tried, ""}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		if questions[path] {
			return Unanswered(tried, c.name)
		}
		return Timeout(tried)
	case errors.Is(err, context.Canceled):
		return &Error{CodeTimeout, "stopped waiting while trying to " + tried + "; it may be carried out all the same", "look at `nightporter status`"}
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return &Error{CodeNotRunning, fmt.Sprintf("cannot %s: nobody answers as %s", tried, c.name), start}
	case errors.Is(err, fs.ErrPermission):
		return &Error{CodePermission, fmt.Sprintf("cannot %s: this user may not talk to %s", tried, c.name), "run it as root, or as a member of the group that socket_group names in the configuration"}
	}
	return Unavailable(tried, fmt.Sprintf("the connection to %s broke (%s)", c.name, cause(err)))
}

// cause is the last part of a chain of wrapped network errors, without the URL that stands before it.
func cause(err error) string {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return strings.TrimSpace(err.Error())
}
