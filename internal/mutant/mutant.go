// Package mutant names the mistakes that the checks must find. A program that is built with the tag `mutant` makes one of them,
// the one that the environment names; any other program has none of this: On is the constant false there, and what stands
// behind it is not compiled. A mistake is a line or two at the very place where somebody might make it.
//
// `make mutants` looks for every one of them by random runs; chaos/README.md has the table.
package mutant

// Name is one mistake. Names are numbers, so that none stays in a program that is built without the tag.
type Name int

// The mistakes, each with the invariant that it breaks. What a second line of defence would hide is off as well; the comment
// at the site says so.
const (
	Uncleaned           Name = iota + 1 // I1: what a crashed agent left stays (agent.Run)
	Unarmed                             // I3: the fence's deadline never comes (agent tenure)
	MacvlanOnly                         // I1, I3: the fence has no part on the LAN interface (identity)
	GARP                                // I1: a host that holds nothing announces the identity (agent tenant)
	NoHandOver                          // I7, I8: a host suspends while it owns a service (agent sleeper, cluster plan)
	LateGuard                           // I5: the guard comes after the address (agent room)
	LostWake                            // I4: a wake between "suspending" and "asleep" is dropped (agent waking)
	EpochReuse                          // I9: a restore forgets the epochs of deleted services (fsm)
	NoQuorumWake                        // I4, I7: nobody wakes the voters that a majority lacks (agent waking)
	NoAmnesiaWait                       // I1: a voter that lost its table grants at once (lease rule 1)
	DeadlineFromArrival                 // I1, I3: the lease is counted from the answers' arrival (agent tenure)
	ReleaseBeforeClose                  // I1: the release leaves before the fence is closed (agent tenure)
	NoRule2                             // I1: a request in an old configuration is granted (lease rule 2)
	NoSpacing                           // I1: voters change without a pause (agent lead)
	NoMargin                            // I1: nothing is kept back for clocks that drift (agent tenure)
	KeepsOn                             // I1, I2: the holder goes on under somebody else's record (lease rules 3 and 4, agent tenant)
	LateAnswer                          // I1: an answer that comes late opens what was given up (lease holder, agent tenure)
	ReleaseAnyEpoch                     // I1: a release clears an entry of another epoch (lease voter)
	Unready                             // I5: a target gets its service before its checks pass (cluster health, agent interlock)
)
