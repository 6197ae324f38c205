package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// bridge gives hashicorp's libraries a logger whose lines end in ours. drop says which lines are noise.
func bridge(name string, to *slog.Logger, drop dropFunc) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: name, Level: hclog.Debug, Output: io.Discard})
	l.RegisterSink(&sink{to: to.With("part", name), drop: drop})
	return l
}

// sink is where the bridge's lines go.
type sink struct {
	to   *slog.Logger
	drop dropFunc
}

// dropFunc says which lines are noise. It may be called by many goroutines at once.
type dropFunc func(level slog.Level, msg string, args []any) bool

// Accept implements hclog.SinkAdapter.
func (s *sink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	to := slogLevel(level)
	if !s.to.Enabled(context.Background(), to) || (s.drop != nil && s.drop(to, msg, args)) {
		return
	}
	s.to.Log(context.Background(), to, msg, clean(args)...)
}

func slogLevel(l hclog.Level) slog.Level {
	switch l {
	case hclog.Error:
		return slog.LevelError
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Info:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

// clean makes hclog's values printable and its keys one word.
func clean(args []any) []any {
	out := make([]any, 0, len(args))
	for i, a := range args {
		if i%2 == 0 {
			k := strings.ReplaceAll(fmt.Sprint(a), " ", "_")
			if k == "error" {
				k = "err"
			}
			out = append(out, k)
			continue
		}
		switch v := a.(type) {
		case hclog.Format:
			if len(v) > 0 {
				out = append(out, fmt.Sprintf(fmt.Sprint(v[0]), v[1:]...))
			} else {
				out = append(out, "")
			}
		case error:
			out = append(out, v.Error())
		default:
			out = append(out, v)
		}
	}
	if len(out)%2 == 1 {
		out = append(out, "")
	}
	return out
}

// standard gives memberlist's kind of logger: lines that begin with [LEVEL].
func standard(l hclog.Logger) *log.Logger {
	return l.StandardLogger(&hclog.StandardLoggerOptions{InferLevels: true})
}

// seldomEvery is how often Raft may repeat itself: it reports a peer that does not answer at every attempt, and hosts that
// sleep do not answer for hours.
const seldomEvery = time.Minute

// seldom drops the repetitions of lines about the same peer (a cluster without a majority tries an election each second), and what Raft says of connections that this agent
// closed itself, at its end.
func seldom() dropFunc {
	var mu sync.Mutex
	said := often{every: seldomEvery}
	return func(level slog.Level, msg string, args []any) bool {
		if level < slog.LevelInfo {
			return false
		}
		key := msg
		for i := 0; i+1 < len(args); i += 2 {
			if k := args[i]; k == "peer" || k == "target" || k == "server-id" || k == "from" {
				key += fmt.Sprint(" ", args[i+1])
			}
			if err, ok := args[i+1].(error); ok && errors.Is(err, net.ErrClosed) {
				return true
			}
		}
		mu.Lock()
		defer mu.Unlock()
		return said.again(key)
	}
}

// often tells whether something was reported lately; it is not safe for concurrent use.
type often struct {
	every time.Duration
	last  map[string]time.Time
}

func (o *often) again(key string) bool {
	now := time.Now()
	if last, seen := o.last[key]; seen && now.Sub(last) < o.every {
		return true
	}
	if o.last == nil || len(o.last) > 256 {
		o.last = make(map[string]time.Time)
	}
	o.last[key] = now
	return false
}

// discard is for libraries whose lines say nothing that their errors do not.
func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
