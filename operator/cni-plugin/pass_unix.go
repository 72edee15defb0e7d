//go:build unix

package main

import (
	"net"
	"os"
	"syscall"
)

// passDescriptor sends an open file as the ancillary data of one byte (unix(7), SCM_RIGHTS).
func passDescriptor(conn *net.UnixConn, file *os.File) error {
	_, _, err := conn.WriteMsgUnix([]byte{0}, syscall.UnixRights(int(file.Fd())), nil)
	return err
}
