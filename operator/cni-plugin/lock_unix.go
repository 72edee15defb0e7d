//go:build unix

package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// SQLite's lock bytes (sqlite.org/fileformat2.html, "The Lock-Byte Page"). An agent holds them exclusively while it
// lives, stuck or not.
const (
	lockBytes      = 0x40000000
	lockBytesCount = 512
)

// heldByWriter reports whether a process holds the ledger as an agent does. What cannot be found out counts as a yes.
func heldByWriter(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	defer file.Close()
	lock := syscall.Flock_t{Type: syscall.F_RDLCK, Whence: io.SeekStart, Start: lockBytes, Len: lockBytesCount}
	err = syscall.FcntlFlock(file.Fd(), syscall.F_GETLK, &lock)
	return err != nil || lock.Type != syscall.F_UNLCK
}
