package main

import "testing"

// One whole call as a runtime makes it: start the process, ask the (fake) agent, read the result.
func BenchmarkCall(b *testing.B) {
	agent := startAgent(b, 200, emptyResult("1.1.0"))
	env, conf := sandboxEnv("ADD"), config("1.1.0", agent.socket)
	for b.Loop() {
		wantSuccess(b, call(b, env, conf), emptyResult("1.1.0"))
	}
}

// The same without an agent: how much of it is the start of the process.
func BenchmarkVersion(b *testing.B) {
	for b.Loop() {
		if got := call(b, map[string]string{"CNI_COMMAND": "VERSION"}, ""); got.exit != 0 {
			b.Fatal(got)
		}
	}
}
