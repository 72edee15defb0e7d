package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// searched is how much of a container's ID is looked for. Any runtime's ID is shorter; of one that is longer than a page
// of the ledger takes, SQLite keeps the rest elsewhere.
const searched = 256

// maxLedger bounds what is searched of the agent's ledger; one of 250 addresses has about 100 kB.
const maxLedger = 16 << 20

// mayHoldAddress reports whether the agent's ledger could have something of this container: only then has its DEL anything
// to release. The agent writes an assignment down before it wires it, so a ledger that does not name the container,
// and that no agent holds, knows nothing of it. What cannot be read counts as a yes: a release must never be lost.
//
// The ledger is SQLite's. It is searched as bytes, its journal too: SQLite keeps a text of that length in one piece,
// so a miss is certain, and a hit in a part that is no longer used costs one record too many.
func mayHoldAddress(dir, containerID string) bool {
	ledger := filepath.Join(dir, "ledger.sqlite")
	id := []byte(containerID[:min(len(containerID), searched)])
	if heldByWriter(ledger) {
		return true // an agent that is stuck, or that ends, may be at work on this very container
	}
	for _, path := range []string{ledger, ledger + "-journal"} {
		content, err := readBounded(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil || bytes.Contains(content, id) {
			return true
		}
	}
	return false
}

func readBounded(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxLedger+1))
	if err == nil && len(content) > maxLedger {
		err = errors.New("too large")
	}
	return content, err
}
