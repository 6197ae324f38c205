// Package vm tries the whole system on a machine that truly suspends to RAM: a virtual one (QEMU, emulated in software) with Debian,
// systemd, logind, and the agent as `make install` puts it there. `make vm-test` runs it; everything but this page has the build tag vm.
//
// The machine takes the place of the host h3 in a laboratory (chaos/lab): its network card is plugged into h3's cable, so that
// the always-on hosts, the clients, the switch and the watch at its ports are those of all other tests. A stand-in for the card's wake logic
// (nic_test.go) resumes the machine when a magic packet comes to its cable while it sleeps; emulated cards cannot. There are three machines, one after the
// other (machine_test.go): two with the card that a guest usually has, and one whose card's driver has Wake-on-LAN. The stand-in of the third wakes by the card's register.
//
// Three more walk through docs/tutorial.md as it is written (tutorial_test.go), on a LAN of their own (lan_test.go).
//
// Emulation stretches every time in the guest, and differently from run to run: nothing here measures the program, and waits are
// for conditions, for minutes if need be.
//
// Goroutines of the tests: one each for QEMU, its monitor, its console, the wake logic, the guest's shell, and one that asks for the address; the end of
// the machine ends them.
package vm
