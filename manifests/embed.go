// Package manifests carries what an administrator applies, for 'osc-debug manifests'.
package manifests

import "embed"

// Files are the manifests, by folder.
//
//go:embed rbac scc policy guard guard-base guard-team guard-all-namespaces
var Files embed.FS
