// Package manifests embeds the manifests that administrators apply, for 'osc-debug manifests'.
package manifests

import "embed"

// Files has one directory for each part, such as "guard" or "rbac".
//
//go:embed home settings rbac scc policy guard guard-base guard-cluster guard-team guard-all-namespaces
var Files embed.FS
