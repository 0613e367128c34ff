package datastore

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// recordVersion is the version of the data.json files that this package reads and writes.
const recordVersion = "1.0"

// The encodings of an artifact that readers of the format know. None of them changes how the unpacked bytes are read.
const (
	PickleV4     = "pickle-v4"
	pickleV2     = "pickle-v2"
	gzipPickleV2 = "gzip+pickle-v2" // also what an absent encoding means
	gzipPickleV4 = "gzip+pickle-v4"
)

// appendRecord appends the content of a data.json file.
func appendRecord(b []byte, storeType string, rec Record) []byte {
	b = append(b, `{"datastore": `...)
	b = appendPyString(b, storeType)
	b = append(b, `, "version": "`+recordVersion+`", "attempt": `...)
	b = strconv.AppendInt(b, int64(rec.Attempt), 10)
	b = append(b, `, "python_version": `...)
	b = appendPyString(b, rec.PythonVersion)
	names := slices.Sorted(maps.Keys(rec.Artifacts))
	b = append(b, `, "objects": {`...)
	for i, name := range names {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(appendPyString(b, name), ": "...)
		b = appendPyString(b, rec.Artifacts[name].Digest)
	}
	b = append(b, `}, "info": {`...)
	for i, name := range names {
		if i > 0 {
			b = append(b, ", "...)
		}
		a := rec.Artifacts[name]
		b = append(appendPyString(b, name), `: {"size": `...)
		b = strconv.AppendInt(b, a.Size, 10)
		b = append(b, `, "type": `...)
		b = appendPyString(b, a.Type)
		b = append(b, `, "encoding": `...)
		b = appendPyString(b, a.Encoding)
		b = append(b, `, "serializer_info": {"source": "metaflow"}}`...)
	}
	return append(b, "}}"...)
}

// checkRecord says what would make a record unreadable.
func checkRecord(rec Record) error {
	for _, name := range slices.Sorted(maps.Keys(rec.Artifacts)) {
		a := rec.Artifacts[name]
		if !isDigest(a.Digest) {
			return fmt.Errorf("artifact %q: invalid digest %q", name, a.Digest)
		}
		if !isEncoding(a.Encoding) {
			return fmt.Errorf("artifact %q: unknown encoding %q", name, a.Encoding)
		}
	}
	return nil
}

func isEncoding(s string) bool {
	return s == PickleV4 || s == pickleV2 || s == gzipPickleV2 || s == gzipPickleV4
}

// parseRecord reads a data.json file. An artifact whose encoding is not known is an error when it is loaded, not here.
func parseRecord(data []byte) (Record, error) {
	var file struct {
		Version       *string           `json:"version"`
		Attempt       int               `json:"attempt"`
		PythonVersion string            `json:"python_version"`
		Objects       map[string]string `json:"objects"`
		Info          map[string]struct {
			Size     int64  `json:"size"`
			Type     string `json:"type"`
			Encoding string `json:"encoding"`
		} `json:"info"`
	}
	// The version comes first: what a newer one means by the other fields is not ours to judge.
	var head struct {
		Version any `json:"version"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return Record{}, fmt.Errorf("not the expected JSON: %w (%w)", ErrCorrupt, err)
	}
	if head.Version != nil && head.Version != recordVersion {
		return Record{}, fmt.Errorf("it has version %v, this mf knows version %s; read it with a newer mf: %w", head.Version, recordVersion, ErrNewer)
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return Record{}, fmt.Errorf("not the expected JSON: %w (%w)", ErrCorrupt, err)
	}
	rec := Record{Attempt: file.Attempt, PythonVersion: file.PythonVersion, Artifacts: make(map[string]Artifact, len(file.Objects))}
	for name, digest := range file.Objects {
		if !isDigest(digest) {
			return Record{}, fmt.Errorf("artifact %q has the digest %q: %w", name, digest, ErrCorrupt)
		}
		info := file.Info[name]
		if info.Encoding == "" {
			info.Encoding = gzipPickleV2
		}
		rec.Artifacts[name] = Artifact{Digest: digest, Size: info.Size, Type: info.Type, Encoding: info.Encoding}
	}
	return rec, nil
}
