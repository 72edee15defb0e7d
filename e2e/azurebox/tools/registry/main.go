// A registry of images that keeps them in memory, by plain HTTP at the address that is its argument: for the scenario of
// docs/getting-started.md, whose reader has one.
package main

import (
	"log"
	"net/http"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: registry ADDRESS:PORT")
	}
	server := &http.Server{Addr: os.Args[1], Handler: registry.New(), ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}
