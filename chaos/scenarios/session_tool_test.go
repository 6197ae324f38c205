package scenarios

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"sync"
	"time"
)

// sessionWord is the first argument by which this binary knows that it is the server of long sessions inside a host.
const sessionWord = "session-server"

// The ports of that server: an echo over TLS, whose records cannot be read any more when a single byte is missing, doubled or wrong;
// and a talker, which has always something under way to its client.
const (
	echoPort = 2223
	talkPort = 2224
	lineSize = 64
	lineTime = 5 * time.Millisecond
)

// talked is the nth byte that a talker says.
func talked(n int) byte { return byte(n*131>>3 ^ n) }

// serveSessions serves until it is killed. ready gets a byte when it listens.
func serveSessions() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	sketch := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, sketch, sketch, key.Public(), key)
	if err != nil {
		return err
	}
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}}
	echo, err := tls.Listen("tcp", fmt.Sprint(":", echoPort), config)
	if err != nil {
		return err
	}
	talk, err := net.Listen("tcp", fmt.Sprint(":", talkPort))
	if err != nil {
		return err
	}
	fmt.Println("ready")
	var both sync.WaitGroup
	both.Go(func() { accept(echo, func(c net.Conn) error { _, err := io.Copy(c, c); return err }) })
	both.Go(func() { accept(talk, talkTo) })
	both.Wait()
	return errors.New("nobody listens any more")
}

func accept(l net.Listener, serve func(net.Conn) error) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			if err := serve(c); err != nil {
				fmt.Fprintln(os.Stderr, "a session ended with", err)
			}
		}()
	}
}

// talkTo talks until the client has nothing more to say.
func talkTo(c net.Conn) error {
	quiet := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, c)
		quiet <- err
	}()
	tick := time.NewTicker(lineTime)
	defer tick.Stop()
	line := make([]byte, lineSize)
	for n := 0; ; {
		for i := range line {
			line[i] = talked(n)
			n++
		}
		if _, err := c.Write(line); err != nil {
			return err
		}
		select {
		case err := <-quiet:
			return err
		case <-tick.C:
		}
	}
}
