package main

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// defaultSocket is the pipe at which the agent listens unless the config says otherwise. Only an administrator can make
// one with this prefix, so no other program of the node takes the agent's place while it is away.
var defaultSocket = pipePrefix + `ProtectedPrefix\Administrators\azure-cni`

// A pipe is in no directory: unless the config names runDir, files are where the agent has them by default.
const (
	defaultRunDir = `C:\ProgramData\azure-cni`
	bootKey       = `SOFTWARE\azure-cni\boot` // as azure_cni/windows/boot.py makes it
	socketRule    = `not the name of a pipe (\\.\pipe\NAME)`

	hintWithoutKubernetes = "" // Docker's plugin is for Linux
)

func isSocketName(name string) bool { return isPipeName(name) }

func directoryOf(string) string { return defaultRunDir }

func passSocket(socket string) string { return socket }

// winbase.h: the agent may ask who calls it, but never act as the caller.
const (
	securitySQOSPresent    = 0x00100000
	securityIdentification = 0x00010000
)

// winerror.h
const (
	errorBrokenPipe       = syscall.Errno(109)
	errorPipeBusy         = syscall.Errno(231)
	errorNoData           = syscall.Errno(232)
	errorPipeNotConnected = syscall.Errno(233)
)

// connect tries again while each instance of the pipe is taken: the agent makes the next one when one is.
func connect(pipe string) (connection, error) {
	name, err := syscall.UTF16PtrFromString(pipe)
	if err != nil {
		return nil, err
	}
	giveUp := time.Now().Add(connectTimeout)
	for {
		handle, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil, syscall.OPEN_EXISTING,
			syscall.FILE_FLAG_OVERLAPPED|securitySQOSPresent|securityIdentification, 0)
		if err == nil {
			return os.NewFile(uintptr(handle), pipe), nil // since Go 1.25 one that is overlapped has deadlines
		}
		if !errors.Is(err, errorPipeBusy) || time.Now().After(giveUp) {
			return nil, err
		}
		time.Sleep(connectPause)
	}
}

// passDescriptor: a namespace has a GUID here, which means the same to every process.
func passDescriptor(connection, *os.File) error {
	return errors.New("descriptors cannot be passed on this system")
}

// wasLost says whether an error means that the agent closed the connection.
func wasLost(err error) bool {
	return errors.Is(err, errorBrokenPipe) || errors.Is(err, errorNoData) || errors.Is(err, errorPipeNotConnected)
}

// filesAreOfThisBoot: they outlive a reboot here. The first agent after one removes what they say of pods, and then makes
// a key of the registry that a reboot clears.
func filesAreOfThisBoot() bool {
	name, err := syscall.UTF16PtrFromString(bootKey)
	if err != nil {
		return false
	}
	var key syscall.Handle
	if syscall.RegOpenKeyEx(syscall.HKEY_LOCAL_MACHINE, name, 0, syscall.KEY_READ, &key) != nil {
		return false
	}
	_ = syscall.RegCloseKey(key)
	return true
}
