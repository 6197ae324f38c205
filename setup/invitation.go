package setup

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// Invitation is all that another host needs to join: the configuration, which is the same everywhere, and the secret. Whoever has it can
// become a member, as whoever has the secret.
type Invitation struct {
	Config string `json:"config"`
	Secret string `json:"secret"`
}

// An invitation is one line: its mark, and in base64 (RFC 4648, URL-safe) four bytes of SHA-256 over the rest, which is JSON behind gzip.
const (
	invitationMark  = "nightporter1."
	invitationLimit = 1 << 20 // bytes, also of what is unpacked
	sumSize         = 4
)

// anyInvitation begins like an invitation of some version.
var anyInvitation = regexp.MustCompile(`^nightporter[0-9]+\.`)

// String gives the line.
func (i Invitation) String() string {
	text, err := json.Marshal(i)
	if err != nil {
		panic(err) // two strings
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err = w.Write(text)
	if err = errors.Join(err, w.Close()); err != nil {
		panic(err) // into memory
	}
	sum := sha256.Sum256(packed.Bytes())
	return invitationMark + base64.RawURLEncoding.EncodeToString(append(sum[:sumSize], packed.Bytes()...))
}

// errNotWhole is what a mistake in copying leads to.
var errNotWhole = errors.New("the invitation is not whole; copy all of the one line that `nightporter setup --invite` prints")

// ReadInvitation reads such a line. Blanks and line breaks that came into it on the way do not count.
func ReadInvitation(s string) (Invitation, error) {
	body, found := strings.CutPrefix(strings.Join(strings.Fields(s), ""), invitationMark)
	if anyInvitation.MatchString(strings.TrimSpace(s)) && !found {
		return Invitation{}, errors.New("the invitation is of another version of nightporter: install the same one on both hosts, and print it anew")
	}
	if !found {
		return Invitation{}, fmt.Errorf("that is no invitation, which begins with %s; `nightporter setup --invite` prints one on a host that is set up", invitationMark)
	}
	raw, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil || len(raw) < sumSize {
		return Invitation{}, errNotWhole
	}
	if sum := sha256.Sum256(raw[sumSize:]); !bytes.Equal(sum[:sumSize], raw[:sumSize]) {
		return Invitation{}, errNotWhole
	}
	r, err := gzip.NewReader(bytes.NewReader(raw[sumSize:]))
	if err != nil {
		return Invitation{}, errNotWhole
	}
	text, err := io.ReadAll(io.LimitReader(r, invitationLimit))
	if err != nil {
		return Invitation{}, errNotWhole
	}
	var out Invitation
	if err := json.Unmarshal(text, &out); err != nil || out.Config == "" || out.Secret == "" {
		return Invitation{}, errNotWhole
	}
	return out, nil
}
