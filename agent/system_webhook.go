package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"nightporter/config"
)

// tokenLimit bounds a token in bytes.
const tokenLimit = 4096

// errRedirect: an address that sends elsewhere is corrected in the file.
var errRedirect = errors.New("it redirects elsewhere, which is not followed; write the right address")

// systemWebhook posts to the address of the configuration. It is true where another attempt may help.
func systemWebhook(w config.Webhook, version string) func(context.Context, []byte) (bool, error) {
	if w.URL == "" {
		return nil
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errRedirect },
	}
	return func(ctx context.Context, body []byte) (bool, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
		if err != nil {
			return false, fmt.Errorf("asking %s: %w", w.URL, err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("User-Agent", "nightporter/"+version)
		if w.TokenFile != "" { // read each time: it may be changed
			b, err := os.ReadFile(w.TokenFile)
			if err != nil {
				return true, fmt.Errorf("reading the token: %w", err)
			}
			token := strings.TrimSpace(string(b))
			if token == "" || len(token) > tokenLimit || strings.ContainsAny(token, "\r\n") {
				return true, fmt.Errorf("the token file %s holds no token: one line of at most %d bytes", w.TokenFile, tokenLimit)
			}
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := client.Do(req)
		if err != nil {
			return !errors.Is(err, errRedirect), plainly(err)
		}
		defer resp.Body.Close()
		switch c := resp.StatusCode; {
		case c >= 200 && c < 300:
			return false, nil
		case c == http.StatusRequestTimeout || c == http.StatusTooManyRequests || c >= 500:
			return true, fmt.Errorf("it answered %d %s", c, http.StatusText(c))
		default:
			return false, fmt.Errorf("it answered %d %s, so this event is not sent again", c, http.StatusText(c))
		}
	}
}

// plainly leaves out the address, which may hold what is nobody's business.
func plainly(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
