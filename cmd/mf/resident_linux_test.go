package main

import "testing"

func TestUnwritten(t *testing.T) {
	const smaps = `00400000-00500000 r-xp 00000000 08:01 1 /bin/mf
Size:               1024 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd ex mr mw me sd
00500000-00580000 r--p 00100000 08:01 1 /bin/mf
Anonymous:             4 kB
Swap:                  0 kB
00580000-00590000 r--p 00180000 08:01 1 /bin/mf
Anonymous:             0 kB
Swap:                  8 kB
00590000-005a0000 rw-p 00190000 08:01 1 /bin/mf
Anonymous:             0 kB
Swap:                  0 kB
005a0000-005c0000 r--p 001a0000 08:01 1 /bin/mf
Anonymous:             0 kB
Swap:                  0 kB
005c0000-005d0000 r--p 00000000 08:01 2 /lib/other.so
Anonymous:             0 kB
Swap:                  0 kB
7f0000000000-7f0000010000 r--p 00000000 00:00 0
Anonymous:             0 kB
Swap:                  0 kB
005e0000-005d0000 r--p 00000000 08:01 1 /bin/mf
Anonymous:             0 kB
Swap:                  0 kB
`
	got := map[uintptr]uintptr{}
	for start, size := range unwritten(smaps, "/bin/mf") {
		got[start] = size
	}
	if len(got) != 2 || got[0x400000] != 0x100000 || got[0x5a0000] != 0x20000 {
		t.Errorf("%x", got)
	}
}
