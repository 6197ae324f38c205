// Package health asks whether a service answers on this host: a pure state machine that counts passes and failures (Pulse), the
// questions themselves (Check), and the systemd units that services run in (Systemd).
//
// A dead check is not a healthy one: what has not been asked, or was asked too long ago, is unknown, and only what passed is ready.
package health
