package ir_test

import (
	"crypto/sha1"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mf-run/mf/ir"
)

// blobs is a datastore of raw blobs.
type blobs map[string][]byte

func (b blobs) save(data []byte) (string, error) {
	digest := fmt.Sprintf("%x", sha1.Sum(data))
	b[digest] = data
	return digest, nil
}

func (b blobs) load(digest string) ([]byte, error) {
	if data, ok := b[digest]; ok {
		return data, nil
	}
	return nil, errors.New("no such blob")
}

func TestParameterForms(t *testing.T) {
	long := strings.Repeat("é{{x}}\n", 30_000)
	for text, prefix := range map[string]string{
		"": "", "plain": "", `a "quoted" text with 'both' and \ back`: "", "two\nlines\tand a tab": "", "日本語 🎉": "", "{x} } }}": "",
		"mf-": "", "mf-:x": "", "mf-base64": "", "mf- base64:": "", "amf-base64:": "", "costs $5": "", "-x": "", "null": "", strings.Repeat("x", 32<<10): "",
		"{{workflow.name}}": ir.ParameterBase64, "mf-base64:QQ==": ir.ParameterBase64, "mf-blob:x": ir.ParameterBase64, "mf-other9:": ir.ParameterBase64,
		"nul \x00": ir.ParameterBase64, "bell \a": ir.ParameterBase64, "del \x7f": ir.ParameterBase64, "invalid \xff": ir.ParameterBase64,
		"cr\r\n": ir.ParameterBase64, "joined \u200d": ir.ParameterBase64, "nbsp\u00a0": ir.ParameterBase64, "$(HOME)": ir.ParameterBase64, "$$": ir.ParameterBase64,
		strings.Repeat("x", 32<<10+1): ir.ParameterBlob, long: ir.ParameterBlob, strings.Repeat("{{", 13_000): ir.ParameterBlob,
	} {
		store := blobs{}
		form, err := ir.EncodeParameter(text, store.save)
		if err != nil || !strings.HasPrefix(form, prefix) || prefix == "" && form != text || len(form) > ir.MaxParameterText {
			t.Errorf("%.40q becomes %.60q, %v; want it to begin with %q", text, form, err, prefix)
		}
		if len(store) != 0 != (prefix == ir.ParameterBlob) {
			t.Errorf("%.40q leaves %d blobs", text, len(store))
		}
		if back, err := ir.DecodeParameter(form, store.load); err != nil || back != text {
			t.Errorf("%.40q comes back as %.40q, %v", text, back, err)
		}
	}
	if form, err := ir.EncodeParameter(long, nil); err == nil || !strings.Contains(err.Error(), "datastore") {
		t.Errorf("a long text without a datastore: %.40q, %v", form, err)
	}
	if _, err := ir.EncodeParameter(long, func([]byte) (string, error) { return "", errors.New("no bucket") }); err == nil || !strings.Contains(err.Error(), "no bucket") {
		t.Error(err)
	}
	if _, err := ir.EncodeParameter(strings.Repeat("x", ir.MaxParameter+1), blobs{}.save); err == nil || !strings.Contains(err.Error(), "file") {
		t.Error(err)
	}
}

func TestParameterFormsRefuse(t *testing.T) {
	for form, want := range map[string]string{
		"mf-base64:*": "not base64", "mf-base64:QQ": "not base64", "mf-base64:QR==": "not base64", "mf-blob:": "40 hex digits",
		"mf-blob:" + strings.Repeat("A", 40): "40 hex digits", "mf-blob:" + strings.Repeat("a", 40): "no such blob", "mf-gzip:x": `"mf-gzip:"`,
	} {
		if text, err := ir.DecodeParameter(form, blobs{}.load); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v, want %q", form, text, err, want)
		}
	}
}

func FuzzParameterForms(f *testing.F) {
	for _, text := range []string{"", "x", "{{", "mf-base64:", "mf-blob:0", "\xff", "a\nb", "$(x)"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		store := blobs{}
		form, err := ir.EncodeParameter(text, store.save)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ir.DecodeParameter(form, store.load); err != nil || back != text {
			t.Errorf("%q, as %q, comes back as %q, %v", text, form, back, err)
		}
		if strings.Contains(form, "{{") || strings.ContainsAny(form, "\x00\r") {
			t.Errorf("%q becomes %q", text, form)
		}
		// What a user wrote by hand is read without a fault, or refused.
		if back, err := ir.DecodeParameter(text, store.load); err == nil && !strings.HasPrefix(text, "mf-") && back != text {
			t.Errorf("%q is read as %q", text, back)
		}
	})
}
