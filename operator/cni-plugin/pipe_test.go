package main

import (
	"strings"
	"testing"
)

func TestNamesOfPipes(t *testing.T) {
	for name, good := range map[string]bool{
		`\\.\pipe\azure-cni`: true,
		`\\.\pipe\ProtectedPrefix\Administrators\azure-cni`: true,
		`\\.\pipe\`: false,
		`\\.\pipe\ProtectedPrefix\Administrators\`: false,
		`\\.\pipe\ProtectedPrefix\LocalService\a`:  false,
		`\\.\pipe\..\C:\evil`:                      false,
		`\\server\pipe\azure-cni`:                  false,
		`C:\ProgramData\azure-cni\cni.sock`:        false,
		"/run/azure-cni/cni.sock":                  false,
		"":                                         false,
		pipePrefix + strings.Repeat("a", 256-len(pipePrefix)): true,
		pipePrefix + strings.Repeat("a", 257-len(pipePrefix)): false,
	} {
		if isPipeName(name) != good {
			t.Errorf("isPipeName(%q) is not %t", name, good)
		}
	}
}
