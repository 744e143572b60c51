//go:build tools

// Package tools names what is built from here: go.mod holds the versions, go.sum what they must be.
package tools

import _ "github.com/summerwind/h2spec/cmd/h2spec"
