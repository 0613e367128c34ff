package irjson_test

import (
	"bytes"
	"testing"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/backends/backendtest"
	"github.com/mf-run/mf/backends/irjson"
	"github.com/mf-run/mf/ir"
)

func TestSuite(t *testing.T) {
	backendtest.Test(t, irjson.Backend{}, func(t *testing.T, files []backends.File) {
		f, err := ir.Unmarshal(files[0].Data)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ir.Marshal(f)
		if err != nil || !bytes.Equal(again, files[0].Data) {
			t.Errorf("reading and writing ir.json changes it (%v)", err)
		}
	})
}
