package lab

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
)

// Serve is the server of a lab host. TCP: a request line of HTTP is answered with the host's name, everything else comes
// back line by line with the name in front. UDP: the datagram comes back likewise. ready is called when it listens.
func Serve(ctx context.Context, name string, port int, log *slog.Logger, ready func() error) error {
	tcp, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return fmt.Errorf("open the server of %s: %w", name, err)
	}
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{Port: port})
	if err != nil {
		return errors.Join(fmt.Errorf("open the server of %s: %w", name, err), tcp.Close())
	}
	s := &server{name: name, log: log, conns: map[net.Conn]bool{}}
	stop := context.AfterFunc(ctx, func() { tcp.Close(); udp.Close(); s.closeAll() })
	defer stop()
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { s.echoUDP(ctx, udp) })
	if err := ready(); err != nil {
		udp.Close()
		return errors.Join(err, tcp.Close())
	}
	for {
		c, err := tcp.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			udp.Close()
			return fmt.Errorf("accept a connection: %w", err)
		}
		s.add(c)
		parts.Go(func() { s.answer(c) })
	}
}

type server struct {
	name  string
	log   *slog.Logger
	mu    sync.Mutex
	conns map[net.Conn]bool
}

func (s *server) add(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = true
}

func (s *server) drop(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	c.Close()
}

func (s *server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

func (s *server) answer(c net.Conn) {
	defer s.drop(c)
	in := bufio.NewReader(c)
	first, err := in.ReadString('\n')
	if err != nil {
		return
	}
	s.log.Info("connection", "from", c.RemoteAddr(), "to", c.LocalAddr())
	if strings.Contains(first, " HTTP/1.") {
		s.answerHTTP(c, io.MultiReader(strings.NewReader(first), in))
		return
	}
	for line := first; err == nil; line, err = in.ReadString('\n') {
		if _, err := fmt.Fprintf(c, "%s %s", s.name, line); err != nil {
			return
		}
	}
}

func (s *server) answerHTTP(c net.Conn, in io.Reader) {
	req, err := http.ReadRequest(bufio.NewReader(in))
	if err != nil {
		return
	}
	body := fmt.Sprintf("%s\n%s answered %s %s at %s\n", s.name, s.name, req.Method, req.URL.Path, time.Now().Format(time.RFC3339Nano))
	_, err = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
	if err != nil {
		s.log.Warn("the answer was not taken", "err", err)
	}
}

// echoUDP answers from the address that was asked: a plain answer would come from the host's own.
func (s *server) echoUDP(ctx context.Context, c *net.UDPConn) {
	p := ipv4.NewPacketConn(c)
	if err := p.SetControlMessage(ipv4.FlagDst, true); err != nil {
		s.log.Error("the server cannot see which address is asked, and does not answer UDP", "err", err)
		return
	}
	buf := make([]byte, 64<<10)
	for {
		n, cm, from, err := p.ReadFrom(buf)
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || cm == nil {
			continue // an ICMP error to an earlier answer
		}
		out := bytes.Join([][]byte{[]byte(s.name), buf[:n]}, []byte(" "))
		if _, err := p.WriteTo(out, &ipv4.ControlMessage{Src: cm.Dst}, from); err != nil {
			s.log.Warn("an answer could not be sent", "to", from, "err", err)
		}
	}
}
