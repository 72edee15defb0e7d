package main

import "strings"

const (
	pipePrefix      = `\\.\pipe\`
	protectedPrefix = `ProtectedPrefix\Administrators\`
	maxPipeName     = 256 // characters in all (Microsoft documentation, CreateNamedPipe)
)

// isPipeName reports whether a Windows node could have a pipe of this name, by the same rule as the agent
// (azure_cni/cni/systems.py): no backslash in it but in the prefix that only administrators may use.
func isPipeName(name string) bool {
	own, found := strings.CutPrefix(name, pipePrefix)
	own = strings.TrimPrefix(own, protectedPrefix)
	return found && own != "" && !strings.Contains(own, `\`) && len(name) <= maxPipeName
}
