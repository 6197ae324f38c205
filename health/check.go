package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// TCP wants a connection to the port at each address. The addresses are this host's own, so it never leaves the host.
func TCP(ctx context.Context, addrs []netip.Addr, port uint16) error {
	for _, a := range addrs {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(a, port).String())
		if err != nil {
			return at(a, addrs, plain(ctx, err))
		}
		_ = c.Close() // it was asked whether it can be had
	}
	return nil
}

// HTTP is a GET request to each address.
type HTTP struct {
	Port                 uint16
	Path                 string // begins with /
	Host                 string // "" = the address
	StatusMin, StatusMax int
}

// bodyMost is how much of an answer is read, so that the server is not left in the middle of a short one.
const bodyMost = 64 << 10

// Ask wants a status in the range from each address. Redirects are an answer and are not followed, and no proxy is asked.
func (h HTTP) Ask(ctx context.Context, addrs []netip.Addr) error {
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer client.CloseIdleConnections()
	for _, a := range addrs {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+netip.AddrPortFrom(a, h.Port).String()+h.Path, nil)
		if err != nil {
			return fmt.Errorf("the request cannot be made: %w", err)
		}
		req.Host = h.Host
		req.Header.Set("User-Agent", "nightporter")
		res, err := client.Do(req)
		if err != nil {
			return at(a, addrs, plain(ctx, err))
		}
		_, _ = io.CopyN(io.Discard, res.Body, bodyMost) // the status is what counts
		_ = res.Body.Close()
		if res.StatusCode < h.StatusMin || res.StatusCode > h.StatusMax {
			return at(a, addrs, fmt.Errorf("status %d, not %s", res.StatusCode, span(h.StatusMin, h.StatusMax)))
		}
	}
	return nil
}

func span(from, to int) string {
	if from == to {
		return strconv.Itoa(from)
	}
	return fmt.Sprintf("%d to %d", from, to)
}

// at names the address where there are several.
func at(a netip.Addr, all []netip.Addr, err error) error {
	if len(all) < 2 {
		return err
	}
	return fmt.Errorf("%s: %w", a, err)
}

// Late says whether an error is that something did not end in its time.
func Late(err error) bool { return errors.Is(err, errLate) || errors.Is(err, context.DeadlineExceeded) }

var errLate = errors.New("no answer in time")

// plain leaves what a person wants to know of an error of the network.
func plain(ctx context.Context, err error) error {
	var sys *os.SyscallError
	switch {
	case ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return errLate
	case errors.As(err, &sys):
		return sys.Err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the connection was closed without an answer")
	}
	text := err.Error()
	if i := strings.LastIndex(text, "\": "); i >= 0 { // the URL stands before it
		text = text[i+3:]
	}
	return errors.New(text)
}

// Limited runs a check for at most its time and says why it did not pass, a sentence that begins with what was asked; "" = it passed.
func Limited(ctx context.Context, name string, most time.Duration, ask func(context.Context) error) string {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	err := ask(ctx)
	switch {
	case err == nil && ctx.Err() == nil:
		return ""
	case ctx.Err() != nil, errors.Is(err, errLate): // whatever the error looks like then
		return name + ": no answer within " + most.String()
	}
	return name + ": " + cut(err.Error())
}

// cut bounds a sentence that goes to all other nodes.
func cut(s string) string {
	const most = 160
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}
