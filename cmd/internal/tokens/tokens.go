// Package tokens decides under which production token a flow is deployed, and keeps the tokens on the user's machine, in the
// files that Metaflow keeps them in: who has deployed a flow with the one deploys it with the other.
//
// A production token names the namespace of a deployment's runs, "production:TOKEN", and is what tells whoever deploys the
// flow on purpose from whoever happens to have a flow of the same name. It is no secret: everybody who may look at the
// deployment on its engine sees it there, and Metaflow makes it from the flow's name. What somebody may really do is up
// to the engine's own permissions.
package tokens

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The errors that callers tell apart, with errors.Is.
var (
	// ErrNotOurs is a deployment whose token is another than the user's.
	ErrNotOurs = errors.New("deployed under another production token")
	// ErrUsage is a request that makes no sense as it stands.
	ErrUsage = errors.New("wrong token options")
)

// maxToken bounds a token's length in bytes: it becomes a tag, an annotation and an environment variable.
const maxToken = 200

// namespacePrefix may stand before a token wherever one is given, for that is how namespaces are shown.
const namespacePrefix = "production:"

// Request is what a decision rests on.
type Request struct {
	// Name is the deployed name, for messages. Prefix is what tokens of the flow start with; see Prefix and ProjectPrefix.
	Name, Prefix string
	// Project is set for a flow with @project, whose tokens start with Prefix always.
	Project bool
	// Live is the token that the deployment on the engine has; empty where nothing is deployed, or it has none.
	Live string
	// Owner is who deployed what is live, User who asks. Somebody who deployed it needs no token to do it again. An
	// empty Owner is nobody.
	Owner, User string
	// Stored is the token kept on this machine; empty for none.
	Stored string
	// Authorize is the token that the user gives to show that the deployment is theirs; empty: Stored.
	Authorize string
	// Given is the token that the deployment is to have from now on; empty to leave that to Decide.
	Given string
	// Generate asks for a token other than the live one.
	Generate bool
}

// Decision is the token to deploy with.
type Decision struct {
	// Token is to be written into the deployment and, once that has succeeded, to the Store.
	Token string
	// Fresh is set where the token is another than that of the live deployment, or nothing was live.
	Fresh bool
	// Messages say what the token means, a line each.
	Messages []string
}

// Check returns nil if the user may change what is live, and an error that wraps ErrNotOurs and says what to do if not.
func Check(r Request) error {
	if r.Live == "" || r.Owner != "" && r.Owner == r.User {
		return nil
	}
	mine := bare(r.Authorize)
	if mine == "" {
		mine = r.Stored
	}
	if same(mine, r.Live) {
		return nil
	}
	by := ""
	if r.Owner != "" {
		by = " by " + r.Owner
	}
	switch {
	case r.Authorize != "":
		return fmt.Errorf("%s was %w%s than the one given with --authorize. Ask whoever deployed it for the token", r.Name, ErrNotOurs, by)
	case r.Stored != "":
		return fmt.Errorf("%s was %w%s than the one kept on this machine. Ask whoever deployed it for the token, and give it once with --authorize TOKEN",
			r.Name, ErrNotOurs, by)
	}
	return fmt.Errorf("%s was %w%s, and this machine has none for it. Ask whoever deployed it for the token, and give it once with --authorize TOKEN. "+
		"If it is another flow that has the same name, deploy yours under another", r.Name, ErrNotOurs, by)
}

// Decide returns the token that a deploy is done with: the live one or, where it has none, the one that this machine used
// last, or a new one. It changes nothing.
func Decide(r Request) (Decision, error) {
	if err := r.valid(); err != nil {
		return Decision{}, err
	}
	if err := Check(r); err != nil {
		return Decision{}, err
	}
	token, err := r.choose()
	if err != nil {
		return Decision{}, err
	}
	d := Decision{Token: token, Fresh: !same(token, r.Live)}
	d.Messages = []string{fmt.Sprintf("The runs of %s are in the namespace %s%s", r.Name, namespacePrefix, token)}
	if d.Fresh {
		if r.Live != "" {
			d.Messages[0] += ", no longer in that of the runs before"
		}
		d.Messages = append(d.Messages,
			fmt.Sprintf("To read them in Python: namespace(%q)", namespacePrefix+token),
			fmt.Sprintf("To deploy it from another machine or as somebody else, once: --authorize %s", token))
	}
	return d, nil
}

func (r Request) valid() error {
	if r.Given != "" && r.Generate {
		return fmt.Errorf("%w: --new-token and --generate-new-token exclude each other", ErrUsage)
	}
	if r.Given != "" && r.Project {
		return fmt.Errorf("%w: %s belongs to a project, whose tokens are made of the project's name and branch: use --generate-new-token instead of --new-token",
			ErrUsage, r.Name)
	}
	if r.Given != "" {
		return checkToken(bare(r.Given))
	}
	return nil
}

// choose returns the token, the user being allowed to set one.
func (r Request) choose() (string, error) {
	switch {
	case r.Given != "":
		return bare(r.Given), nil
	case r.Generate:
		before := r.Live
		if before == "" {
			before = r.Stored
		}
		if token := next(r.Prefix, before); token != "" {
			return token, nil
		}
		return "", fmt.Errorf("%w: --generate-new-token counts on from the tokens that it made before, and the present one is not of them: name the new one with --new-token TOKEN",
			ErrUsage)
	case r.Live != "":
		return r.Live, nil
	case r.Stored != "":
		return r.Stored, nil
	}
	return next(r.Prefix, ""), nil
}

// checkToken reports a text that cannot be a token.
func checkToken(token string) error {
	bad := func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsPrint(c) }
	switch {
	case token == "":
		return fmt.Errorf("%w: the token is empty", ErrUsage)
	case len(token) > maxToken:
		return fmt.Errorf("%w: the token has %d bytes, more than %d", ErrUsage, len(token), maxToken)
	case !utf8.ValidString(token) || strings.ContainsFunc(token, bad):
		return fmt.Errorf("%w: the token %q holds spaces or characters that cannot be printed", ErrUsage, token)
	case strings.Contains(token, "{{"):
		return fmt.Errorf("%w: the token %q holds {{, which engines would replace", ErrUsage, token)
	}
	return nil
}

// bare takes off what may stand before a token.
func bare(token string) string { return strings.TrimPrefix(token, namespacePrefix) }

// same compares in a time that does not depend on how much of the tokens is equal. No token is the same as none.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1 && a != "" && b != ""
}
