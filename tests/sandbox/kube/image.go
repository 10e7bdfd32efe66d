package main

import (
	"fmt"
	"strings"
)

// image is a program that a container can run.
type image struct {
	name    string // the last part of its repository
	program string // on this machine
}

// entrypoint is where ko puts the program into an image.
func (i image) entrypoint() string {
	return "/ko-app/" + i.name
}

// findImage looks up a reference by its last path component, whatever the registry.
func findImage(programs map[string]string, reference string) (image, error) {
	withTag, _, _ := strings.Cut(reference, "@")
	last := withTag[strings.LastIndex(withTag, "/")+1:]
	name, _, tagged := strings.Cut(last, ":")
	if !tagged {
		last += ":latest"
	}
	if program, ok := programs[last]; ok {
		return image{name: name, program: program}, nil
	}
	// containerd's words.
	return image{}, fmt.Errorf("rpc error: code = NotFound desc = failed to pull and unpack image %q: "+
		"failed to resolve reference %q: %s: not found", reference, reference, reference)
}

// repository is the reference without tag and digest.
func repository(reference string) string {
	reference, _, _ = strings.Cut(reference, "@")
	if colon := strings.LastIndex(reference, ":"); colon > strings.LastIndex(reference, "/") {
		return reference[:colon]
	}
	return reference
}
