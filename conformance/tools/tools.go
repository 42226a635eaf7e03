//go:build tools

// Package tools names the commands that are built from this module, so that go.mod keeps them.
package tools

import (
	_ "github.com/google/go-containerregistry/cmd/crane"
	_ "helm.sh/helm/v3/cmd/helm"
)
