package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// The control socket carries one request and one response per connection, each a line of JSON, with open files beside
// it: a socket made in a host's namespace goes to the owner that way, and the owner's terminal to a program in a host.
// A connection that is closed before the response takes the request back: a program it runs is killed.

const (
	messageLimit = 1 << 20
	filesLimit   = 8
)

type request struct {
	Verb    string   `json:"verb"`
	Host    string   `json:"host,omitempty"`
	Argv    []string `json:"argv,omitempty"`
	Dir     string   `json:"dir,omitempty"`
	Env     []string `json:"env,omitempty"`
	Signal  int      `json:"signal,omitempty"`
	Cut     Cut      `json:"cut,omitzero"`
	Family  int      `json:"family,omitempty"`
	Kind    int      `json:"kind,omitempty"`
	Address string   `json:"address,omitempty"`

	Shape  Shape      `json:"shape,omitzero"`
	Clock  ClockShift `json:"clock,omitzero"`
	Disk   DiskFault  `json:"disk,omitzero"`
	Starve Starvation `json:"starve,omitzero"`
	Claim  Claim      `json:"claim,omitzero"`
	Card   Card       `json:"card,omitzero"`
	Seed   uint64     `json:"seed,omitempty"`
}

type response struct {
	Error  string    `json:"error,omitempty"`
	Code   int       `json:"code,omitempty"`
	Status *Status   `json:"status,omitempty"`
	At     time.Time `json:"at,omitzero"`
	Index  int       `json:"index,omitempty"`
	Damage *Damage   `json:"damage,omitempty"`
}

// send writes one message with files beside it. The files stay open here.
func send(c *net.UnixConn, message any, files []*os.File) error {
	body, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encode a control message: %w", err)
	}
	body = append(body, '\n')
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	n, _, err := c.WriteMsgUnix(body, rights, nil)
	if err == nil && n < len(body) {
		_, err = c.Write(body[n:])
	}
	if err != nil {
		return fmt.Errorf("send a control message: %w", err)
	}
	return nil
}

// receive reads one message and the files beside it, which the caller closes.
func receive(c *net.UnixConn, message any) ([]*os.File, error) {
	var body []byte
	var files []*os.File
	buf := make([]byte, 64<<10)
	oob := make([]byte, unix.CmsgSpace(4*filesLimit))
	for {
		n, oobn, _, _, err := c.ReadMsgUnix(buf, oob)
		if err == nil && n == 0 {
			err = io.EOF
		}
		if err == nil {
			var more []*os.File
			more, err = rightsOf(oob[:oobn])
			files = append(files, more...)
		}
		if err != nil {
			closeAll(files)
			return nil, fmt.Errorf("receive a control message: %w", err)
		}
		body = append(body, buf[:n]...)
		if bytes.HasSuffix(body, []byte("\n")) {
			break
		}
		if len(body) > messageLimit {
			closeAll(files)
			return nil, errors.New("receive a control message: it is longer than 1 MiB")
		}
	}
	if err := json.Unmarshal(body, message); err != nil {
		closeAll(files)
		return nil, fmt.Errorf("read a control message: %w", err)
	}
	return files, nil
}

func rightsOf(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // some other kind of control message
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "from the lab's control socket"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// ask sends one request to the supervisor of the lab in dir and waits for the response for as long as ctx allows.
func ask(ctx context.Context, socket string, q request, files ...*os.File) (response, []*os.File, error) {
	var d net.Dialer
	raw, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return response{}, nil, unreached(socket, err)
	}
	c := raw.(*net.UnixConn)
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if err := send(c, q, files); err != nil {
		return response{}, nil, err
	}
	var r response
	got, err := receive(c, &r)
	switch {
	case ctx.Err() != nil:
		closeAll(got)
		return response{}, nil, fmt.Errorf("lab %s %s: %w", q.Verb, q.Host, context.Cause(ctx))
	case errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET):
		return response{}, nil, fmt.Errorf("the lab ended during `lab %s`", q.Verb)
	case err != nil:
		return response{}, nil, fmt.Errorf("the lab ended during `lab %s`: %w", q.Verb, err)
	case r.Error != "":
		closeAll(got)
		return r, nil, errors.New(r.Error)
	}
	return r, got, nil
}

// unreached says why nobody could be asked.
func unreached(socket string, err error) error {
	dir := filepath.Dir(socket)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return noLab(dir)
	case errors.Is(err, unix.ECONNREFUSED): // the socket outlives a killed lab
		return fmt.Errorf("the lab in %s was killed; remove what it left with `nightporter lab down --dir %s`", dir, dir)
	}
	return fmt.Errorf("reach the lab at %s: %w", socket, err)
}
