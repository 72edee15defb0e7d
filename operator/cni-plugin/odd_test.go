package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

var (
	oddInputs = flag.Uint64("inputs", 10_000, "how many inputs TestOddInputs draws")
	oddSeed   = flag.Uint64("seed", 1, "which ones")
)

// tokens is what a change puts where something else stood.
var tokens = []string{
	"", "null", "{}", "[]", `"`, "{", "}", "[", ",", ":", "0", "-1", "1e999", "18446744073709551616", "true", "\x00", "\xff\xfe", "\u2028",
	"\r\n", "\r\n\r\n", "=", ";", "/", "../", "/proc/self/ns/net", "/proc/self/fd/0", "0.3.0", "1.1.0", "1.0.0", "99.0.0", "1.x",
	"Content-Length: ", "Content-Length: 1048577\r\n", "Transfer-Encoding: chunked\r\n", "HTTP/1.1 200 OK", "HTTP/1.1 999", "HTTP/0.9 -1",
	"cniVersion", "CNIVERSION", "name", "socket", "code", "msg", "ips", "address", "10.0.0.300", "10.0.0.4/33", "fd00::4/64", "prevResult",
	strings.Repeat("[", 11_000), strings.Repeat("x", 70_000),
}

// plain is a call with nothing odd in it.
func plain(command string) input {
	env := sandboxEnv(command)
	return input{
		command: command, containerID: env["CNI_CONTAINERID"], netns: env["CNI_NETNS"], ifName: env["CNI_IFNAME"],
		args: env["CNI_ARGS"], path: env["CNI_PATH"],
		stdin:  []byte(`{"cniVersion":"1.1.0","name":"azure-cni","type":"azure-cni"}`),
		answer: answerOf(200, emptyResult("1.1.0")),
	}
}

func answerOf(status int, body string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 %d OK\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
}

// corpus is where all changes begin: the calls and answers of testdata, and of the tests about bad ones.
func corpus(t testing.TB) []input {
	t.Helper()
	var all []input
	for _, command := range []string{"ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", ""} {
		all = append(all, plain(command))
	}
	for _, name := range list(t, "requests") {
		verb, _, _ := strings.Cut(name, "-")
		in := plain(strings.ToUpper(verb))
		_, config, _ := strings.Cut(strings.TrimSuffix(readFile(t, "requests/"+name), "}"), `"config":`)
		in.stdin = []byte(strings.ReplaceAll(config, `"socket"`, `"sockets"`)) // the laboratory's, which is the default there
		all = append(all, in)
	}
	for _, name := range list(t, "replies") {
		var status int
		fmt.Sscan(name[:3], &status)
		in := plain("ADD")
		in.answer = answerOf(status, readFile(t, "replies/"+name))
		version := strings.TrimSuffix(strings.TrimPrefix(name, "200-add-"), ".json")
		if status == 200 {
			in.stdin = []byte(strings.Replace(string(in.stdin), "1.1.0", version, 1))
		}
		for how := range manners {
			in.manner = how
			all = append(all, in)
		}
	}
	for _, c := range malformedConfigs {
		in := plain("ADD")
		in.stdin = []byte(c.stdin)
		all = append(all, in)
	}
	for _, c := range senselessAnswers {
		in := plain("CHECK")
		in.answer = []byte(c.raw)
		all = append(all, in)
	}
	return all
}

// The same inputs in each run: `go test -run OddInputs . -args -inputs 1000000 -seed 7` draws more, and others.
func TestOddInputs(t *testing.T) {
	l, good := newLaboratory(t), corpus(t)
	elsewhere := 0
	for number := range *oddInputs {
		chance := rand.New(rand.NewPCG(*oddSeed, number))
		in := odd(good[chance.IntN(len(good))], good[chance.IntN(len(good))], chance)
		switch err := l.try(in); {
		case err == errLeads:
			elsewhere++
		case err != nil:
			t.Fatalf("number %d of seed %d: %v: %+q", number, *oddSeed, err, in)
		}
	}
	t.Logf("%d inputs of seed %d: each ended in time with a result or an error; %d more named a file of this machine",
		*oddInputs-uint64(elsewhere), *oddSeed, elsewhere)
}

// odd takes each part of the input from one of two, and changes one to three of them.
func odd(in, other input, chance *rand.Rand) input {
	if chance.IntN(3) == 0 {
		in.command = other.command
	}
	if chance.IntN(3) == 0 {
		in.answer, in.manner = other.answer, other.manner
	}
	if in.manner == thenSilence && chance.IntN(20) != 0 {
		in.manner = atOnce // the others wait for nothing
	}
	texts := []*string{&in.containerID, &in.netns, &in.ifName, &in.args, &in.path, &in.command}
	for range 1 + chance.IntN(3) {
		switch part := chance.IntN(14); {
		case part < 5:
			in.stdin = changed(in.stdin, chance)
		case part < 10:
			in.answer = changed(in.answer, chance)
		default:
			text := texts[chance.IntN(len(texts))]
			*text = string(changed([]byte(*text), chance))
		}
	}
	return in
}

// changed cuts the bytes, doubles a part of them, or puts a token, a byte or nothing in the place of a part.
func changed(content []byte, chance *rand.Rand) []byte {
	from := chance.IntN(len(content) + 1)
	to := min(len(content), from+chance.IntN(1+chance.IntN(len(content)+1)))
	before, part, after := content[:from], content[from:to], content[to:]
	var instead []byte
	switch chance.IntN(5) {
	case 0:
		return append([]byte(nil), before...)
	case 1:
		instead = append(append(instead, part...), part...)
	case 2:
		instead = []byte{byte(chance.IntN(256))}
	case 3:
		instead = nil
	default:
		instead = []byte(tokens[chance.IntN(len(tokens))])
		if chance.IntN(2) == 0 {
			after = append(append([]byte(nil), part...), after...)
		}
	}
	return append(append(append([]byte(nil), before...), instead...), after...)
}
