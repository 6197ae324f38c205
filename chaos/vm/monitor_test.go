//go:build vm

package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// monitor is QEMU's own side of the machine (QMP): it tells when the machine has suspended and when it resumes, and resumes it.
type monitor struct {
	conn    net.Conn
	done    chan struct{}
	answers chan answer
	events  func(event)

	mu sync.Mutex // one command at a time
}

// event is what QEMU tells by itself, with its time by this host's clock on the wall.
type event struct {
	Name string
	At   time.Time
}

// answer is one message of QEMU's.
type answer struct {
	Event     string                                `json:"event"`
	Timestamp struct{ Seconds, Microseconds int64 } `json:"timestamp"`
	Return    json.RawMessage                       `json:"return"`
	Error     *struct{ Desc string }                `json:"error"`
}

// watchMachine connects to QEMU, which may just be starting. events gets each event, on the monitor's goroutine.
func watchMachine(ctx context.Context, path string, events func(event)) (*monitor, error) {
	conn, err := dialUnix(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("reach QEMU's monitor: %w", err)
	}
	m := &monitor{conn: conn, done: make(chan struct{}), answers: make(chan answer, 1), events: events}
	go m.read()
	if err := m.command(ctx, "qmp_capabilities"); err != nil {
		conn.Close()
		<-m.done
		return nil, err
	}
	return m, nil
}

// dialUnix connects to a socket that may not be there yet.
func dialUnix(ctx context.Context, path string) (net.Conn, error) {
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
		if err == nil {
			return conn, nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, errors.Join(err, context.Cause(ctx))
		}
	}
}

func (m *monitor) read() {
	defer close(m.done)
	for dec := json.NewDecoder(bufio.NewReader(m.conn)); ; {
		var a answer
		if dec.Decode(&a) != nil {
			return // QEMU has ended, or the connection was closed
		}
		switch {
		case a.Event != "":
			m.events(event{a.Event, time.Unix(a.Timestamp.Seconds, a.Timestamp.Microseconds*1000)})
		case a.Return != nil || a.Error != nil:
			m.answers <- a
		}
	}
}

// command has QEMU do something.
func (m *monitor) command(ctx context.Context, name string) error {
	_, err := m.ask(ctx, name, fmt.Sprintf(`{"execute": %q}`, name))
	return err
}

// look asks for something that QEMU tells people only, and gives the text.
func (m *monitor) look(ctx context.Context, line string) (text string, err error) {
	answer, err := m.ask(ctx, line, fmt.Sprintf(`{"execute": "human-monitor-command", "arguments": {"command-line": %q}}`, line))
	if err == nil {
		err = json.Unmarshal(answer, &text)
	}
	return text, err
}

func (m *monitor) ask(ctx context.Context, name, message string) (json.RawMessage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := fmt.Fprintln(m.conn, message); err != nil {
		return nil, fmt.Errorf("tell QEMU %s: %w", name, err)
	}
	select {
	case a := <-m.answers:
		if a.Error != nil {
			return nil, fmt.Errorf("QEMU refuses %s: %s", name, a.Error.Desc)
		}
		return a.Return, nil
	case <-m.done:
		return nil, fmt.Errorf("QEMU ended before it did %s", name)
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for QEMU's %s: %w", name, context.Cause(ctx))
	}
}

func (m *monitor) close() {
	m.conn.Close() // what QEMU was told was answered
	<-m.done
}
