package metadata

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// The limits of user tags.
const (
	// MaxTags is the number of user tags of a run.
	MaxTags = 50
	// MaxTagLength is the length of a user tag in characters.
	MaxTagLength = 500
)

// CheckRun says what is wrong with a new run: that it has no flow, or a user tag that breaks the rules of
// Recorder.MutateTags (ErrInvalidTag). Every implementation of CreateRun calls it.
func CheckRun(run Run) error {
	if run.FlowID == "" {
		return errors.New("a run has no flow")
	}
	for _, t := range run.Tags {
		if err := checkTag(t); err != nil {
			return err
		}
	}
	if n := len(unique(run.Tags)); n > MaxTags {
		return fmt.Errorf("%w: %d tags, a run may have at most %d", ErrInvalidTag, n, MaxTags)
	}
	return nil
}

func checkTag(tag string) error {
	switch n := utf8.RuneCountInString(tag); {
	case tag == "":
		return fmt.Errorf("%w: a tag must not be empty", ErrInvalidTag)
	case !utf8.ValidString(tag):
		return fmt.Errorf("%w: %q is not valid UTF-8", ErrInvalidTag, tag)
	case n > MaxTagLength:
		return fmt.Errorf("%w: a tag of %d characters, at most %d are allowed", ErrInvalidTag, n, MaxTagLength)
	}
	return nil
}

// ApplyTags returns a run's user tags after a mutation, by the rules of Recorder.MutateTags: those that stay in their
// order, then the new ones in theirs. Every implementation uses it, so that the rules are the same everywhere.
// changed is false if nothing is to be written.
func ApplyTags(user, system, add, remove []string) (tags []string, changed bool, err error) {
	for _, t := range remove {
		if slices.Contains(system, t) {
			return nil, false, fmt.Errorf("%w: %q is a system tag, which cannot be removed", ErrInvalidTag, t)
		}
	}
	for _, t := range add {
		if err := checkTag(t); err != nil {
			return nil, false, err
		}
	}
	user = unique(user)
	tags = make([]string, 0, len(user)+len(add))
	for _, t := range user {
		if !slices.Contains(remove, t) || slices.Contains(add, t) {
			tags = append(tags, t)
		}
	}
	for _, t := range add {
		if !slices.Contains(tags, t) && !slices.Contains(system, t) {
			tags = append(tags, t)
		}
	}
	if len(tags) > MaxTags && len(tags) > len(user) {
		return nil, false, fmt.Errorf("%w: the run would have %d tags, at most %d are allowed: remove some first",
			ErrInvalidTag, len(tags), MaxTags)
	}
	return tags, !slices.Equal(tags, user), nil
}

// unique returns the tags without repetitions, in order.
func unique(tags []string) []string {
	out := make([]string, 0, len(tags))
	for _, t := range tags {
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out
}
