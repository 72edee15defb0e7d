//go:build !unix

package main

import (
	"errors"
	"net"
	"os"
)

func passDescriptor(*net.UnixConn, *os.File) error {
	return errors.New("descriptors cannot be passed on this system")
}
