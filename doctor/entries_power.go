package doctor

import "nightporter/api"

var powerEntries = []Entry{
	{
		"cannot-sleep", areaSleep, api.Fail, "This host is to sleep (`power: sleeps`), and cannot as it is to.",
		"It stays awake.", "As the sentence says: another `suspend`, the firmware's settings, swap for hibernation; `power: always-on` if it never should.", "Documentation/admin-guide/pm/sleep-states.rst; org.freedesktop.login1(5): CanSuspend",
	},
	{
		"no-sleep-states", areaSleep, api.Note, "The kernel offers no suspend on this machine.",
		"It can be a front or a witness, and no sleeping target.", "The firmware's settings; virtual machines often have none.", "Documentation/admin-guide/pm/sleep-states.rst",
	},
	{
		"sleep-s2idle", areaSleep, api.Note, "A suspend is suspend-to-idle here (s2idle).",
		"Some cards wake a machine from S3 only, and others from s2idle only.", "`nightporter canary` shows it; `suspend: deep` in the configuration chooses the other one where the kernel has it.", "Documentation/admin-guide/pm/sleep-states.rst: mem_sleep",
	},
	{
		"rtc-missing", areaSleep, api.Warn, "This host is to sleep, and no clock of it could wake it.",
		"With `look_after` or `wake_at` it wakes by its own clock, which is the last net when nobody is awake.", "Switch the alarm on in the firmware; on a Raspberry Pi connect a clock.", "rtc(4)",
	},
}
