package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"nightporter/config"
)

// keysEvery is how often the files of token and certificate are looked at while the page is open.
const keysEvery = time.Second

// errChanged ends the serving for the sake of a new token: whoever came in with the former one is to go.
var errChanged = errors.New("the token has changed")

// keys are what the page was opened with.
type keys struct {
	token string
	pair  atomic.Pointer[tls.Certificate] // nil = no TLS
	stamp [2]fileStamp                    // of certificate and key
}

// fileStamp tells one content of a file from another without reading it.
type fileStamp struct {
	at   time.Time
	size int64
}

func stampOf(path string) fileStamp {
	info, err := os.Stat(path) // through links: what renews certificates turns them to the new one
	if err != nil {
		return fileStamp{}
	}
	return fileStamp{info.ModTime(), info.Size()}
}

// readKeys reads the files.
func (w *webLoop) readKeys() (*keys, error) {
	token, err := w.token()
	if err != nil {
		return nil, err
	}
	k := &keys{token: token}
	if w.cfg.HTTP.CertFile == "" {
		return k, nil
	}
	k.stamp = w.stamps() // before: a change in between is read again
	pair, err := config.ReadKeyPair(w.cfg.HTTP.CertFile, w.cfg.HTTP.KeyFile)
	if err != nil {
		return nil, err
	}
	k.pair.Store(&pair)
	return k, nil
}

func (w *webLoop) stamps() [2]fileStamp {
	return [2]fileStamp{stampOf(w.cfg.HTTP.CertFile), stampOf(w.cfg.HTTP.KeyFile)}
}

// token reads what callers must have. Without one only this host itself may be able to ask: config has made sure.
func (w *webLoop) token() (string, error) {
	switch file := w.cfg.HTTP.TokenFile; {
	case file == "" && w.cfg.HTTP.Local():
		return "", nil
	case file == "":
		return "", errors.New("others could read them without a token")
	case file == w.cfg.SecretFile:
		return "", fmt.Errorf("the token file %s is the cluster's secret; make a file of its own", file)
	default:
		return config.ReadToken(file)
	}
}

// follow looks after the files until ctx ends. A token that is another one, or none any more, ends the serving, and with it what was open. A new
// certificate is for those who come from now on; while it cannot be used, the former one is.
func (w *webLoop) follow(ctx context.Context, k *keys) error {
	if w.cfg.HTTP.TokenFile == "" && w.cfg.HTTP.CertFile == "" {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(keysEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		switch token, err := w.token(); {
		case err != nil:
			return err
		case token != k.token:
			w.log.Info("the token of the status page has changed: whoever had the former one needs the new one")
			return errChanged
		}
		if w.cfg.HTTP.CertFile != "" {
			w.renew(k)
		}
	}
}

// renew takes in a new certificate, and says when the one in force is no good any more.
func (w *webLoop) renew(k *keys) {
	trouble := ""
	if now := w.stamps(); now != k.stamp {
		pair, err := config.ReadKeyPair(w.cfg.HTTP.CertFile, w.cfg.HTTP.KeyFile)
		if err == nil {
			k.pair.Store(&pair)
			k.stamp = now
			w.log.Info("the status page has a new certificate", "until", pair.Leaf.NotAfter)
		} else {
			trouble = "the status page goes on with its former certificate: " + err.Error()
		}
	}
	if until := k.pair.Load().Leaf.NotAfter; trouble == "" && time.Now().After(until) {
		trouble = fmt.Sprintf("the certificate of the status page, %s, ended at %s: browsers and Prometheus refuse it", w.cfg.HTTP.CertFile, until.UTC().Format(time.RFC3339))
	}
	w.say(trouble)
}
