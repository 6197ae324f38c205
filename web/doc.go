// Package web serves the status page and the metrics over HTTP. Both are to be read only: nothing that comes in changes anything. It knows
// nothing of what it shows; a Source gives it the bytes.
//
// Who may read: at an address that only this host can reach, whoever asks with the name of this host (a page of somebody else's whose name
// was bent to 127.0.0.1, DNS rebinding, asks with its own). With a token, whoever has that: as `Authorization: Bearer TOKEN`, or as a cookie that
// /login gives for it. What the cookie holds is derived from the token and is not the token, so it ends with it and nothing has to be remembered.
//
// What a stranger can cost is bounded: connections (in all, and of one address), the time and the size of a request, and how often the
// Source is asked. Package agent runs it beside everything else and on no lease's path.
package web
