package main

import (
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// maxRecords is some sixteen times what a node can hold of pods: more are not releases, but a fault that must not fill
// /run, which is the node's memory.
const maxRecords = 4096

// recordName is the file name of a sandbox's record: the same for each DEL of a sandbox, so that a repeated DEL
// replaces its record, and no other network's. Hashed, because a container ID may be longer than a file name can be; FNV, because no one
// gains by a collision and the start-up of crypto/sha256 would cost each call 0.2 ms.
func recordName(network, containerID, ifName string) string {
	sum := fnv.New128a()
	sum.Write([]byte(network + "/" + containerID + "/" + ifName))
	return hex.EncodeToString(sum.Sum(nil)) + ".json"
}

// writeRecord writes a record whole or not at all: a *.json in the directory is never half-written, and once this
// returns nil it is as durable as the file system.
func writeRecord(dir, name string, content []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := roomFor(dir, name); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, "."+name+".*") // readable by its owner only
	if err != nil {
		return err
	}
	if err := fill(temp, content); err != nil {
		_ = os.Remove(temp.Name())
		return err
	}
	if err := os.Rename(temp.Name(), filepath.Join(dir, name)); err != nil {
		_ = os.Remove(temp.Name())
		return err
	}
	return syncDir(dir)
}

// roomFor refuses a record beyond the limit, unless it replaces one.
func roomFor(dir, name string) error {
	directory, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer directory.Close()
	names, err := directory.Readdirnames(maxRecords)
	if len(names) < maxRecords {
		if err == io.EOF {
			return nil
		}
		return err
	}
	if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
		return nil
	}
	return fmt.Errorf("%d records wait there for an agent already, which is the limit; get the node's agent to run", maxRecords)
}

// fill writes, syncs and closes the file.
func fill(file *os.File, content []byte) error {
	_, err := file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	return err
}

// syncDir makes a rename in the directory durable. Windows has no such call and needs none.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
