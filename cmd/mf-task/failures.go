package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// engineFailure is what an engine says of one node that failed, in Argo's words.
type engineFailure struct {
	DisplayName, Message string
	FinishedAt           time.Time
}

// failureOf says in one line what made a run fail, from what the engine says of all nodes that did (ir.EnvFailures): the
// first that failed, and how many more there were. Empty where it does not say.
func failureOf(text string) string {
	var first *engineFailure
	count := 0
	for _, f := range parseFailures(text) {
		// A node around others fails because they did.
		if f.Message == "" || strings.HasPrefix(f.Message, "child '") || f.Message == "No more retries left" {
			continue
		}
		count++
		if first == nil || f.FinishedAt.Before(first.FinishedAt) {
			first = &f
		}
	}
	if first == nil {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(first.Message), "\n")
	if first.DisplayName != "" {
		line = first.DisplayName + ": " + line
	}
	if count > 1 {
		line += fmt.Sprintf(" (and %d more)", count-1)
	}
	return line
}

// parseFailures reads as much as there is: the text may be quoted, and cut off anywhere.
func parseFailures(text string) []engineFailure {
	if strings.HasPrefix(text, `"`) {
		text = unquote(text)
	}
	dec := json.NewDecoder(strings.NewReader(text))
	if t, err := dec.Token(); err != nil || t != json.Delim('[') {
		return nil
	}
	var list []engineFailure
	for dec.More() {
		var f engineFailure
		if dec.Decode(&f) != nil {
			break
		}
		list = append(list, f)
	}
	return list
}

// unquote undoes strconv.Quote, also where the end is missing.
func unquote(text string) string {
	if whole, err := strconv.Unquote(text); err == nil {
		return whole
	}
	// The longest escape, \U0010ffff, may be cut anywhere.
	for cut := 0; cut <= 10 && cut < len(text); cut++ {
		if part, err := strconv.Unquote(text[:len(text)-cut] + `"`); err == nil {
			return part
		}
	}
	return ""
}
