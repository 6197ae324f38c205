package web

import (
	"net/http"
	"time"
)

// stream sends the status at once, then after each change and with every beat, as server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html), until the page or the server goes.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	if s.streams.Add(1) > streamsMost {
		s.streams.Add(-1)
		w.Header().Set("Retry-After", "10")
		refuse(w, http.StatusServiceUnavailable, "too many pages are open here already")
		return
	}
	defer s.streams.Add(-1)
	w.Header().Set("Content-Type", "text/event-stream")
	if r.Method == http.MethodHead {
		return
	}
	out := http.NewResponseController(w)
	send := func(text string, body []byte) bool {
		// A reader that takes nothing for so long is gone.
		if out.SetWriteDeadline(time.Now().Add(answerTime)) != nil {
			return false
		}
		for _, part := range [][]byte{[]byte(text), body, []byte("\n\n")} {
			if _, err := w.Write(part); err != nil {
				return false
			}
		}
		return out.Flush() == nil
	}
	if out.SetReadDeadline(time.Time{}) != nil { // net/http takes the end of a request's time for the end of its caller
		return
	}
	changed, cancel := s.source.Watch()
	defer cancel()
	beat := time.NewTicker(s.beat)
	defer beat.Stop()
	later := time.After(freshFor) // the first answer may be from before Watch
	if !send("retry: 1000", nil) {
		return
	}
	for {
		body, err := s.status.get()
		if err != nil { // the page says since when it has heard nothing
			body = nil
			s.log.Debug("the status page gets no status", "err", err)
		}
		if body != nil && !send("event: status\ndata: ", body) {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-changed:
			pause(r.Context(), freshFor) // a hand-over is several changes; and what was asked before this one does not count any more
		case <-later:
		case <-beat.C:
		}
	}
}
