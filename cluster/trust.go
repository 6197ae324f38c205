package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
)

// config is the TLS of one connection. server is the node that is dialled, "" for incoming ones.
func (t *Transport) config(server string, protos ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{t.id.cert},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: t.id.pool, RootCAs: t.id.pool,
		ServerName: server, NextProtos: protos, SessionTicketsDisabled: true,
		VerifyConnection: func(s tls.ConnectionState) error { return t.verify(s.PeerCertificates, server) },
	}
}

// errPeer marks the refusals that verify puts into words.
type errPeer string

// Error implements error.
func (e errPeer) Error() string { return string(e) }

// verify compares name and key with what is known.
func (t *Transport) verify(chain []*x509.Certificate, dialled string) error {
	if len(chain) == 0 {
		return errPeer("the peer shows no certificate")
	}
	name := chain[0].Subject.CommonName
	if dialled != "" && name != dialled {
		return errPeer(fmt.Sprintf("the host that answers for %s says that it is %s", dialled, name))
	}
	if name == t.id.node && pinOf(chain[0]) != t.id.pin {
		return errPeer("another host uses this node's name " + name)
	}
	if why := t.dir.Stranger(name); why != "" {
		return errPeer(why)
	}
	if why := t.dir.Impostor(name, pinOf(chain[0])); why != "" {
		return errPeer(why)
	}
	return nil
}

// explain puts into words why a handshake failed. It keeps the cause.
func explain(err error) error {
	var (
		peer     errPeer
		name     x509.HostnameError
		stranger x509.UnknownAuthorityError
		alert    tls.AlertError
		record   tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &peer):
		return err
	case errors.As(err, &name):
		return fmt.Errorf("another node answers there: %w", err)
	case errors.As(err, &stranger):
		return fmt.Errorf("its certificate is of another cluster: do both hosts have the same secret file and cluster name? (%w)", err)
	case errors.As(err, &alert):
		return fmt.Errorf("it refused this node: its log says why; do both hosts have the same secret file and cluster name? (%w)", err)
	case errors.As(err, &record):
		return fmt.Errorf("no agent speaks there: %w", err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("it was too slow to shake hands: %w", err)
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
		return fmt.Errorf("it hung up: %w", err)
	}
	return err
}
