package yaml

import (
	"bytes"
	_ "embed" // for schema.json
)

//go:embed schema.json
var schemaJSON []byte

// Schema returns the JSON Schema (draft 2020-12, UTF-8, ending in a newline) of flow files, for editors. It is the same text
// for every call of one version. It says what a schema can say: Parse is stricter.
func Schema() []byte { return bytes.Clone(schemaJSON) }
