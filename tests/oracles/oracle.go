// Asks golang.org/x/mod/sumdb; a line in, "ok" or "no" out. See tests/oracles/test_oracles.py.
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type question struct {
	Ask, Key, Note, Leaf, Root, OldRoot string
	Index, Size, Old                    int64
	Path                                []string
}

func hash(text string) (h tlog.Hash) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) != len(h) {
		panic("not a hash")
	}
	copy(h[:], raw)
	return h
}

func hashes(texts []string) []tlog.Hash {
	var found []tlog.Hash
	for _, text := range texts {
		found = append(found, hash(text))
	}
	return found
}

func holds(q question) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	switch q.Ask {
	case "note":
		verifier, err := note.NewVerifier(q.Key)
		if err != nil {
			return false
		}
		_, err = note.Open([]byte(q.Note), note.VerifierList(verifier))
		return err == nil
	case "inclusion":
		leaf, err := base64.StdEncoding.DecodeString(q.Leaf)
		if err != nil {
			return false
		}
		return tlog.CheckRecord(hashes(q.Path), q.Size, hash(q.Root), q.Index, tlog.RecordHash(leaf)) == nil
	case "consistency":
		return tlog.CheckTree(hashes(q.Path), q.Size, hash(q.Root), q.Old, hash(q.OldRoot)) == nil
	}
	return false
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var q question
		if json.Unmarshal(lines.Bytes(), &q) == nil && holds(q) {
			fmt.Println("ok")
		} else {
			fmt.Println("no")
		}
	}
}
