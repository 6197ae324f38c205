// Package failures holds the tests of what goes wrong on real machines: wrong secrets and names, damaged and full disks,
// network cards that vanish, daemons that are killed or stopped, meddling with the kernel's tables, strangers with the
// service's address. The real program runs in the hosts of a lab. Each case must end in three things: a sentence that says
// what is wrong, where, and what to do; silence of the identity on the host concerned, judged by a capture at the switch;
// and a service or member that is back when the cause is gone. There is nothing to import here.
package failures
