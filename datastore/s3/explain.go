package s3

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/mf-run/mf/datastore"
)

// outageError is an outage that outlasted the patience.
type outageError struct {
	patience time.Duration
	err      error
}

func (e *outageError) Error() string { return e.err.Error() }
func (e *outageError) Unwrap() error { return e.err }

// explained has a text for people in place of the SDK's, which repeats itself and names no way out.
type explained struct {
	text string
	err  error
}

func (e *explained) Error() string { return e.text }
func (e *explained) Unwrap() error { return e.err }

// urlOf is an object as people know it.
func (b *Backend) urlOf(key string) string {
	if key == "" {
		return b.root
	}
	return b.root + "/" + key
}

// explain says what was done to what, what went wrong, and what can be done about it.
func (b *Backend) explain(doing, key string, err error) error {
	what := doing + " " + b.urlOf(key)
	if isAbsent(err) {
		return &explained{what + ": " + datastore.ErrNotFound.Error(), errors.Join(datastore.ErrNotFound, err)}
	}
	text := what + ": " + reason(err)
	if advice := b.advice(err); advice != "" {
		text += "; " + advice
	}
	return &explained{text, err}
}

// isAbsent reports whether the store says that there is no such object.
func isAbsent(err error) bool {
	switch codeOf(err) {
	case "NoSuchKey", "NotFound":
		return true
	case "":
		return statusOf(err) == 404
	}
	return false
}

// reason is the core of an error in a few words, without the URL that was asked, which can be signed.
func reason(err error) string {
	var api smithy.APIError
	var u *url.Error
	var op *net.OpError
	var noCredentials *credentialsError
	switch {
	case errors.As(err, &noCredentials):
		return "no credentials could be had: " + noCredentials.Error()
	case errors.As(err, &api):
		text := api.ErrorCode()
		if m := api.ErrorMessage(); m != "" && m != text {
			text += ": " + m
		}
		if status := statusOf(err); status != 0 {
			text += fmt.Sprintf(" (HTTP %d)", status)
		}
		return text
	case statusOf(err) != 0:
		return fmt.Sprintf("HTTP %d", statusOf(err))
	case errors.As(err, &op):
		return op.Error()
	case errors.As(err, &u):
		return u.Err.Error()
	}
	return err.Error()
}

// expecting finds the region in the text of S3's complaint about another one.
var expecting = regexp.MustCompile(`expecting ['"]([a-z0-9-]+)['"]`)

// rightRegion is the bucket's region where an answer names it.
func rightRegion(err error) string {
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) && response.Response != nil && response.Response.Response != nil {
		if region := response.Response.Header.Get("X-Amz-Bucket-Region"); region != "" {
			return region
		}
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		if m := expecting.FindStringSubmatch(api.ErrorMessage()); m != nil {
			return m[1]
		}
	}
	return ""
}

// advice says what the user can do about an error, or "".
func (b *Backend) advice(err error) string {
	var outage *outageError
	var noCredentials *credentialsError
	var dns *net.DNSError
	switch {
	case errors.As(err, &outage):
		return fmt.Sprintf("the store has not answered for %v: check that it runs and can be reached from here, then run again or resume", outage.patience)
	case errors.As(err, &noCredentials):
		return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine or pod a role"
	case errors.As(err, &dns) && dns.IsNotFound:
		return "check the endpoint's name and the region"
	}
	code := codeOf(err)
	switch code {
	case "NoSuchBucket":
		return fmt.Sprintf("there is no bucket %q (or no more): create it, or correct the datastore's root", b.bucket)
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired":
		return "the credentials have expired: log in again (for instance aws sso login) or renew AWS_SESSION_TOKEN"
	case "InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException":
		return "the store does not know this access key: check AWS_ACCESS_KEY_ID, AWS_PROFILE and the endpoint"
	case "SignatureDoesNotMatch":
		return "the secret key does not fit the access key: check AWS_SECRET_ACCESS_KEY"
	case "InvalidToken":
		return "the session token does not fit the keys: check AWS_SESSION_TOKEN, and unset it for keys without one"
	case "RequestTimeTooSkewed", "RequestExpired":
		return "this machine's clock is off by more than the store allows: set it, for instance by NTP"
	case "AccessDenied", "AllAccessDisabled":
		return fmt.Sprintf("the credentials may not do this: they need s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload on %s/* and s3:ListBucket on the bucket %q", b.root, b.bucket)
	}
	status := statusOf(err)
	if code == "PermanentRedirect" || code == "AuthorizationHeaderMalformed" || code == "IllegalLocationConstraintException" || code == "InvalidLocationConstraint" || status == 301 || status == 307 {
		if region := rightRegion(err); region != "" && region != b.region {
			return fmt.Sprintf("the bucket %q is in region %s, the requests went to %s: set AWS_REGION=%s", b.bucket, region, b.region, region)
		}
		return fmt.Sprintf("the bucket %q is in another region than %s: set AWS_REGION to the bucket's", b.bucket, b.region)
	}
	if status == 403 {
		return "the store refuses the credentials, or they may not do this: check AWS_ACCESS_KEY_ID and the bucket's policy"
	}
	return ""
}
