// Package browser drives a real Chromium from tests, by the DevTools protocol over its standard input and output
// (https://chromedevtools.github.io/devtools-protocol/): that needs no port, so the browser may stand in any network namespace.
package browser

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Argv starts a browser that keeps its profile in a folder. Its pipe to whoever drives it is file descriptors 3 and 4.
func Argv(profile string) []string {
	// What a browser asks its maker for by itself would look like a request of the page.
	flags := "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --remote-debugging-pipe --no-first-run --disable-background-networking --disable-component-update --disable-sync --hide-scrollbars"
	return []string{"sh", "-c", `exec 3<&0 4>&1 </dev/null >/dev/null; exec chromium ` + flags + ` --user-data-dir="$0" about:blank`, profile}
}

// Page is one page of a browser. Its methods are for one goroutine.
type Page struct {
	in      io.WriteCloser
	session string
	next    int

	mu       sync.Mutex
	answers  map[int]chan answer
	requests []string
	trouble  []string
	ended    chan struct{}
}

type answer struct {
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

type message struct {
	ID int `json:"id"`
	answer
	Method string `json:"method"`
	Params struct {
		Request struct {
			URL string `json:"url"`
		} `json:"request"`
		Entry struct {
			Level, Text, URL string
		} `json:"entry"`
		ExceptionDetails struct {
			Text      string `json:"text"`
			Exception struct {
				Description string `json:"description"`
			} `json:"exception"`
		} `json:"exceptionDetails"`
	} `json:"params"`
}

// Open opens a page in the browser behind two pipes. The page ends with out, the browser with Close.
func Open(ctx context.Context, in io.WriteCloser, out io.Reader) (*Page, error) {
	p := &Page{in: in, answers: make(map[int]chan answer), ended: make(chan struct{})}
	go p.read(out)
	var target struct {
		TargetID string `json:"targetId"`
	}
	if err := p.call(ctx, "Target.createTarget", map[string]any{"url": "about:blank"}, &target); err != nil {
		return nil, err
	}
	var attached struct {
		SessionID string `json:"sessionId"`
	}
	if err := p.call(ctx, "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached); err != nil {
		return nil, err
	}
	p.session = attached.SessionID
	for _, domain := range []string{"Page", "Network", "Runtime", "Log"} {
		if err := p.call(ctx, domain+".enable", nil, nil); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Close ends the browser.
func (p *Page) Close(ctx context.Context) error {
	p.session = ""
	err := p.call(ctx, "Browser.close", nil, nil)
	select {
	case <-p.ended:
		return p.in.Close()
	case <-ctx.Done():
		return errors.Join(err, ctx.Err(), p.in.Close())
	}
}

// read takes in what the browser says: JSON that ends with a zero byte.
func (p *Page) read(out io.Reader) {
	defer close(p.ended)
	r := bufio.NewReaderSize(out, 1<<20)
	for {
		line, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m message
		if json.Unmarshal(line[:len(line)-1], &m) != nil {
			continue
		}
		p.mu.Lock()
		switch m.Method {
		case "":
			if c := p.answers[m.ID]; c != nil {
				c <- m.answer
				delete(p.answers, m.ID)
			}
		case "Network.requestWillBeSent":
			p.requests = append(p.requests, m.Params.Request.URL)
		case "Log.entryAdded":
			if e := m.Params.Entry; e.Level == "error" {
				p.trouble = append(p.trouble, e.Text+" "+e.URL)
			}
		case "Runtime.exceptionThrown":
			p.trouble = append(p.trouble, m.Params.ExceptionDetails.Text+" "+m.Params.ExceptionDetails.Exception.Description)
		}
		p.mu.Unlock()
	}
}

func (p *Page) call(ctx context.Context, method string, params, result any) error {
	p.next++
	id, c := p.next, make(chan answer, 1)
	p.mu.Lock()
	p.answers[id] = c
	p.mu.Unlock()
	if params == nil {
		params = struct{}{}
	}
	text, err := json.Marshal(struct {
		ID        int    `json:"id"`
		Method    string `json:"method"`
		Params    any    `json:"params"`
		SessionID string `json:"sessionId,omitempty"`
	}{id, method, params, p.session})
	if err != nil {
		return err
	}
	if _, err := p.in.Write(append(text, 0)); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case a := <-c:
		if a.Error != nil {
			return fmt.Errorf("%s: %s", method, a.Error.Message)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(a.Result, result)
	case <-p.ended:
		return fmt.Errorf("%s: the browser has ended", method)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, ctx.Err())
	}
}

// Go opens an address.
func (p *Page) Go(ctx context.Context, url string) error {
	var to struct {
		ErrorText string `json:"errorText"`
	}
	if err := p.call(ctx, "Page.navigate", map[string]any{"url": url}, &to); err != nil {
		return err
	}
	if to.ErrorText != "" {
		return fmt.Errorf("open %s: %s", url, to.ErrorText)
	}
	return nil
}

// Eval runs JavaScript in the page and gives its value as text.
func (p *Page) Eval(ctx context.Context, script string) (string, error) {
	var out struct {
		Result struct {
			Value any `json:"value"`
		} `json:"result"`
		ExceptionDetails *struct {
			Exception struct {
				Description string `json:"description"`
			} `json:"exception"`
		} `json:"exceptionDetails"`
	}
	err := p.call(ctx, "Runtime.evaluate", map[string]any{"expression": script, "returnByValue": true, "awaitPromise": true}, &out)
	if err == nil && out.ExceptionDetails != nil {
		err = errors.New(out.ExceptionDetails.Exception.Description)
	}
	return strings.TrimSpace(fmt.Sprint(out.Result.Value)), err
}

// Await waits until a script gives true. The error has what another one gives at the end.
func (p *Page) Await(ctx context.Context, script, show string) error {
	for {
		got, err := p.Eval(ctx, script)
		if err == nil && got == "true" {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
			continue
		case <-ctx.Done():
		}
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		seen, serr := p.Eval(last, show)
		return fmt.Errorf("the page does not come to %s (%w): %s", script, errors.Join(err, serr), seen)
	}
}

// Resize gives the page a size, in CSS pixels.
func (p *Page) Resize(ctx context.Context, width, height int) error {
	return p.call(ctx, "Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}, nil)
}

// Zone puts the page into a time zone.
func (p *Page) Zone(ctx context.Context, name string) error {
	return p.call(ctx, "Emulation.setTimezoneOverride", map[string]any{"timezoneId": name}, nil)
}

// Dark has the page drawn for people who like it dark, or light.
func (p *Page) Dark(ctx context.Context, dark bool) error {
	scheme := map[bool]string{true: "dark", false: "light"}[dark]
	return p.call(ctx, "Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]any{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// Shot gives a picture of the whole page, as PNG.
func (p *Page) Shot(ctx context.Context) ([]byte, error) {
	var out struct {
		Data string `json:"data"`
	}
	if err := p.call(ctx, "Page.captureScreenshot", map[string]any{"captureBeyondViewport": true}, &out); err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(out.Data)
}

// Requests are the addresses that were asked for so far.
func (p *Page) Requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.requests...)
}

// Trouble is what the browser complained of so far: exceptions, policies that were broken, requests that failed.
func (p *Page) Trouble() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.trouble...)
}
